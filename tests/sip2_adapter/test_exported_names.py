from __future__ import annotations

import inspect

import sip2_adapter
import sip2_adapter.simulator


def public_names(package):
    return sorted(
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    )


def test_all_is_what_can_be_imported():
    for package in (sip2_adapter, sip2_adapter.simulator):
        assert sorted(package.__all__) == public_names(package)
