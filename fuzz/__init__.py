"""Coverage-guided fuzzing: ``make fuzz``. The same targets run a little under hypothesis in the tests."""
