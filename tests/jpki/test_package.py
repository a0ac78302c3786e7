import jpki


def test_every_public_name_can_be_imported():
    assert [name for name in jpki.__all__ if not hasattr(jpki, name)] == []


def test_public_names_are_sorted_and_unique():
    assert jpki.__all__ == sorted(set(jpki.__all__))


def test_nothing_public_is_left_out():
    imported = {
        name
        for name, value in vars(jpki).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("jpki.")
    }
    assert imported == set(jpki.__all__)
