"""A My Number Card in software, its issuers, and the reader it lies on. For the demo and the tests.

``pki`` issues certificates; ``card`` answers APDUs, in the same process through
``SimulatedConnection``; ``reader`` runs a pcscd with virtual readers and cards as processes of their
own, so that everything above PC/SC is the real thing.
"""
