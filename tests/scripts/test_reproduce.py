"""What `make reproduce` trains."""

from collections import Counter

from gcp_repro.data.arrays import ARRAY_SETS
from gcp_repro.paper.store.statistics import MIN_PAIRS
from gcp_repro.runs.identity import config_hash, initial_stage_hash, setting_of
from scripts.reproduce import ARMS, plans

CORES, LIMIT, QUICK_LIMIT = 2, 12 * 60, 3 * 60
START_UP = 20  # seconds of a core: imports of the workers, and the report


def test_every_arm_has_the_replicates_that_a_claim_needs():
    for quick in (False, True):
        counts = Counter(plan.arm for plan in plans(quick))
        assert counts == dict.fromkeys((arm for arm in ARMS if arm.quick or not quick), MIN_PAIRS)


def test_the_time_stays_within_what_the_readme_promises():
    for quick, limit in ((False, LIMIT), (True, QUICK_LIMIT)):
        assert CORES * START_UP + sum(plan.arm.seconds for plan in plans(quick)) < CORES * limit


def test_initialisation_order_and_training_images_follow_the_seed_and_the_test_images_do_not(compose_train):
    first, second = (compose_train(*plan.overrides) for plan in plans(quick=False)[:2])
    assert setting_of(first) == setting_of(second)
    for config, seed in ((first, 0), (second, 1)):
        assert (config.seed, config.data.seed, config.data.subset_seed) == (seed, seed, seed)
        assert config.data.eval_size is None
        assert ARRAY_SETS[config.data.dataset].packaged is not None


def test_arms_are_runs_of_their_own_in_one_setting_but_for_alexnets_head_and_share_the_initial_stage(compose_train):
    configurations = [compose_train(*plan.overrides) for plan in plans(quick=False) if plan.seed == 0]
    assert len({config_hash(config) for config in configurations}) == len(ARMS)
    settings = Counter(str(sorted(setting_of(config).items())) for config in configurations)
    assert sorted(settings.values()) == [2, len(ARMS) - 2]
    assert [list(config.model.hidden_dims) for config in configurations].count([256, 256]) == 2
    hybrid = [config for config in configurations if config.protocol.name == "hybrid"]
    assert len(hybrid) == sum("protocol=hybrid" in arm.overrides for arm in ARMS) > 1
    assert len({initial_stage_hash(config) for config in hybrid}) == 1
