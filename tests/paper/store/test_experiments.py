from hydra.core.global_hydra import GlobalHydra

from gcp_repro.paper.store.experiments import configured_setting, differences


def test_what_is_configured_is_found_and_hydra_left_as_it_was(compose_train):
    configured_setting.cache_clear()
    before = GlobalHydra.instance().hydra
    setting = configured_setting("digits")
    assert setting is not None
    assert setting["schedule.epochs"] == compose_train("experiment=digits").schedule.epochs
    assert configured_setting("no_such_experiment") is None
    assert GlobalHydra.instance().hydra is before


def test_differences_are_seen_from_both_sides():
    assert differences({"a": 1, "b": None}, {"a": 1, "c": 2}) == {"b": None, "c": None}
    assert differences({"a": 1}, {"a": 1.0}) == {}
