from ray.tune.execution import class_cache

from tuner.runner import keep_keys_off_command_lines


def test_tune_hands_no_key_to_a_workers_command_line() -> None:
    before = set(class_cache.ENV_VARS_TO_PROPAGATE)
    assert "RAY_CHDIR_TO_TRIAL_DIR" in before, "Tune's own are still handed on"
    keep_keys_off_command_lines()
    assert {name for name in before if "AWS" not in name} == class_cache.ENV_VARS_TO_PROPAGATE
