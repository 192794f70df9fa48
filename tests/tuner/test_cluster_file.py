import copy
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trainables.parts import ConfigError
from tuner.cluster_file import RULES, placeholders_in, problems_of, rays_schema, read_cluster_file, rules_for

ROOT = Path(__file__).resolve().parents[2]
FILES = ["cluster.yaml", "cluster.onprem.yaml"]
AWS_KEY = "AKIA" + "Q" * 16


def shipped(name: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return tree


def check(*files: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tuner.cluster", "check", *map(str, files)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def _home_without_a_token(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_file_fits_rays_schema_and_breaks_no_rule(name: str) -> None:
    jsonschema.validate(shipped(name), rays_schema())
    assert problems_of(read_cluster_file(ROOT / name)) == []


def test_the_command_says_what_was_looked_at() -> None:
    done = check(*FILES)
    assert (done.returncode, done.stderr) == (0, "")
    told = [line for line in done.stdout.splitlines() if "looked at" in line]
    assert [line.partition(":")[0] for line in told] == FILES
    assert all(what in line for line, name in zip(told, FILES, strict=True) for what in rules_for(shipped(name)))


def put(tree: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy of a tree with another value at a path; None takes away what is there."""
    tree = copy.deepcopy(tree)
    part: Any = tree
    for key in path[:-1]:
        part = part[key]
    if value is None:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return tree


HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"
GPU = ("available_node_types", "gpu", "node_config")
TEMP = "--temp-dir=$HOME/.tritune/ray"
START = f"umask 077; RAY_AUTH_MODE=token ray start --head --include-dashboard=false {TEMP}"
BROKEN_IN_BOTH: list[tuple[tuple[Any, ...], Any, list[str]]] = [
    (("nodes",), 3, ["the file: Additional properties", "'nodes'"]),
    (("cluster_name",), None, ["the file: 'cluster_name' is a required property"]),
    (("max_workers",), "many", ["max_workers: type must be", "integer", "a text"]),
    (("setup_commands", 0), "ufw allow from 0.0.0.0/0", ["setup_commands.0", "0.0.0.0/0 opens it to the world"]),
    (("setup_commands", 0), "ip6tables -s ::/0 -j ACCEPT", ["setup_commands.0", "::/0 opens it to the world"]),
    (("setup_commands", 0), "ufw allow from 128.0.0.0/1", ["128.0.0.0/1 opens it to the world"]),
    (("setup_commands", 0), f"aws configure set x {AWS_KEY}", ["setup_commands.0", "an AWS access key"]),
    (("setup_commands", 0), "echo '-----BEGIN RSA PRIVATE KEY-----'", ["setup_commands.0", "a private key"]),
    (("setup_commands", 0), "export MLFLOW_TRACKING_PASSWORD=hunter2", ["a value for MLFLOW_TRACKING_PASSWORD"]),
    (("setup_commands", 0), "echo " + "0123abcd" * 8 + " > ~/.ray/auth_token", ["a token of 32 bytes"]),
    (("provider", "password"), "hunter2", ["provider.password", "a secret"]),
    (("file_mounts", "~/.ray/auth_token"), None, ["file_mounts: must bring the token to ~/.ray/auth_token"]),
    (("file_mounts",), None, ["file_mounts: must bring the token"]),
    ((HEAD,), None, [f"{HEAD}: must hold a `ray start`"]),
    ((WORKER,), None, [f"{WORKER}: must hold a `ray start`"]),
    ((HEAD, 1), "ray start --head --include-dashboard=false", [f"{HEAD}.1: RAY_AUTH_MODE=token must hold", "but got none"]),
    ((WORKER, 1), "ray start --address=$RAY_HEAD_IP:6379", [f"{WORKER}.1: RAY_AUTH_MODE=token must hold", "but got none"]),
    ((WORKER, 1), "RAY_AUTH_MODE=disabled x/ray start", [f"{WORKER}.1: RAY_AUTH_MODE=token must hold", "but got disabled"]),
    ((WORKER, 1), "RAY_AUTH_MODE=token true && ray start", [f"{WORKER}.1: RAY_AUTH_MODE=token must hold", "but got none"]),
    ((WORKER, 1), "export RAY_AUTH_MODE=token; RAY_AUTH_MODE=disabled ray start", ["but got disabled"]),
    ((WORKER, 1), 'RAY_AUTH_MODE=token true; bash -lc "ray start"', [f"{WORKER}.1: RAY_AUTH_MODE=token must", "but got none"]),
    ((HEAD, 0), "bash -lc 'ray start --head --port=6380'", [f"{HEAD}.0: RAY_AUTH_MODE=token must hold", "but got none"]),
    ((WORKER, 0), "python -m ray.scripts.scripts start", [f"{WORKER}.0: RAY_AUTH_MODE=token must hold", "but got none"]),
    ((WORKER, 0), "ray --logging-level info start", [f"{WORKER}.0: RAY_AUTH_MODE=token must hold", "but got none"]),
    ((WORKER, 1), "RAY_AUTH_MODE=token sudo ray start", [f"{WORKER}.1: RAY_AUTH_MODE=token must hold", "but got none"]),
    ((WORKER, 1), "export RAY_AUTH_MODE=token; sudo -u x ray start", ["after sudo, which drops it", "but got none"]),
    ((WORKER, 1), START.replace("umask 077; ", ""), [f"{WORKER}.1: `umask 077` must stand before", "but got none"]),
    ((WORKER, 1), START.replace("077", "022"), [f"{WORKER}.1: `umask 077` must stand before", "but got 022"]),
    ((WORKER, 1), START.replace(TEMP, ""), [f"{WORKER}.1: `ray start` must have --temp-dir", "but got none"]),
    ((WORKER, 1), START.replace("$HOME", "~"), ["absolute or below $HOME (Ray reads no ~), but got ~/.tritune/ray"]),
    (
        (WORKER, 1),
        START.replace(TEMP, "--temp-dir /tmp/ray"),
        ["the folder around --temp-dir=/tmp/ray must be closed", "700 /tmp`"],
    ),
    (
        ("setup_commands", 0),
        "chmod 600 ~/.ray/auth_token",
        [f"{HEAD}.1: the folder around", "`chmod 700 ~/.tritune`, but is not"],
    ),
    (("setup_commands", 0), "curl -H 'Authorization: Bearer hunter2hunter2' x", ["setup_commands.0", "a header that lets in"]),
    ((WORKER, 1), "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/x/t ray start", ["must bring the token to /x/t"]),
    ((HEAD, 1), START + " --dashboard-host=0.0.0.0", [f"{HEAD}.1: --dashboard-host must be 127.0.0.1, but got 0.0.0.0"]),
    ((HEAD, 1), START + " --dashboard-host ::", ["--dashboard-host must be 127.0.0.1, but got ::"]),
    ((HEAD, 1), f"{START} --include-dashboard=true", [f"{HEAD}.1: `ray start --head` must have --include-dashboard=false"]),
    ((HEAD, 1), "RAY_AUTH_MODE=token ray start --head", [f"{HEAD}.1: `ray start --head` must have --include-dashboard=false"]),
    (("docker",), {"run_options": ["-p 8265:8265"]}, ["docker.run_options.0", "8265 must not be published"]),
]
BROKEN_ON_AWS: list[tuple[tuple[Any, ...], Any, list[str]]] = [
    (
        ("provider", "security_group"),
        {"GroupName": "g", "IpPermissions": [{"FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]},
        ["provider.security_group.IpPermissions.0.IpRanges.0.CidrIp: 0.0.0.0/0 opens it"],
    ),
    (("provider", "use_internal_ips"), False, ["provider.use_internal_ips: must be true, but got False"]),
    ((*GPU, "SecurityGroupIds"), None, ["available_node_types.gpu.node_config.SecurityGroupIds: must name your own"]),
    ((*GPU, "MetadataOptions"), None, ["available_node_types.gpu.node_config.MetadataOptions: HttpTokens must be"]),
    ((*GPU, "MetadataOptions", "HttpTokens"), "optional", ["available_node_types.gpu.node_config.MetadataOptions"]),
    (("available_node_types",), None, ["available_node_types: must be given"]),
    (
        (*GPU, "NetworkInterfaces"),
        [{"DeviceIndex": 0, "Groups": ["sg-1"], "AssociatePublicIpAddress": True}],
        ["available_node_types.gpu.node_config.NetworkInterfaces: AssociatePublicIpAddress must not be set"],
    ),
]
CASES = [*((name, case) for name in FILES for case in BROKEN_IN_BOTH), *(("cluster.yaml", case) for case in BROKEN_ON_AWS)]


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}-{number}" for number, (name, _) in enumerate(CASES)])
def test_a_rule_broken_alone_is_found_and_named(name: str, case: tuple[tuple[Any, ...], Any, list[str]]) -> None:
    path, value, words = case
    [problem] = [line for line in problems_of(put(shipped(name), path, value)) if all(word in line for word in words)]
    assert AWS_KEY not in problem
    assert "hunter2" not in problem


def test_every_rule_is_broken_by_some_case() -> None:
    broken = {
        rule for name, (path, value, _) in CASES for rule, find in RULES.items() if list(find(put(shipped(name), path, value)))
    }
    assert broken == set(RULES)


@pytest.mark.parametrize(
    "command",
    [
        f"umask 077; export RAY_AUTH_MODE=token; ray start {TEMP}",
        "umask 0077 && ray stop; RAY_AUTH_MODE='token' ~/.venv/bin/ray start --temp-dir ${HOME}/.tritune/ray",
        f"bash -lc 'umask 077; RAY_AUTH_MODE=token ray start {TEMP}'",
        f"umask 077; sudo RAY_AUTH_MODE=token ray start {TEMP}",
        "mkdir -p /var/t && chmod 0700 /var/t; umask 77; RAY_AUTH_MODE=token ray start --temp-dir=/var/t/ray",
        "ray stop",
        "array start",
        "ray status; systemctl start x",
    ],
)
def test_other_ways_to_start_ray_with_its_token_and_closed_to_others_pass(command: str) -> None:
    tree = shipped("cluster.onprem.yaml")
    tree[WORKER].append(command)
    assert problems_of(tree) == []


def test_own_groups_on_network_interfaces_pass() -> None:
    tree = put(shipped("cluster.yaml"), (*GPU, "SecurityGroupIds"), None)
    tree["available_node_types"]["gpu"]["node_config"]["NetworkInterfaces"] = [{"DeviceIndex": 0, "Groups": ["sg-1"]}]
    assert problems_of(tree) == []


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    token.chmod(0o640)
    tree = put(shipped("cluster.yaml"), ("file_mounts", "~/.ray/auth_token"), str(token))
    assert problems_of(tree) == [
        f"file_mounts: {token} must be readable by you alone (mode 600), but has mode 640; chmod 600 {token}"
    ]
    token.chmod(0o600)
    assert problems_of(tree) == []


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    tree = put(put(shipped("cluster.yaml"), ("provider", "password"), "hunter2"), ("provider", "use_internal_ips"), False)
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(tree))
    (tmp_path / "b.yaml").write_text("cluster_name: !!python/name:os.system\n")
    done = check(tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "none.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    for words, line in zip(
        ["provider.password", "use_internal_ips", "b.yaml", "no such file"], sorted(lines, key=len), strict=False
    ):
        assert any(words in other for other in lines), line
    assert "hunter2" not in done.stderr


def _merges(depth: int) -> str:
    lines = [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, depth)]
    return "\n".join(["a0: &a0 {x: 1}", *lines])


def _laughs(depth: int) -> str:
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, depth)]
    return "\n".join(["a0: &a0 [x]", *lines])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x: !!python/object/apply:os.system ['true']\n", "is not read; plain values alone"),
        (_laughs(12), "at most 10000 values"),
        (_merges(40), "at most 10000 values"),
        ("a: &a [*a]\n", "an alias stands inside of what it names"),
        ("[" * 100_000, "at most 40 levels"),
        ("a: " + "x" * 300_000, "at most 262144 bytes"),
        ("- a list\n", "a mapping of keys to values"),
        ("", "a mapping of keys to values"),
        ("a: [", "line "),
        ("a: \0", "special characters are not allowed"),
    ],
    ids=["tag", "aliases", "merges", "itself", "deep", "long", "list", "empty", "half", "nul"],
)
def test_a_file_made_to_harm_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_cluster_file(tmp_path / "c.yaml")
    [problem] = caught.value.problems
    assert words in problem
    assert str(tmp_path / "c.yaml") in problem


def test_a_folder_and_what_is_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\xff")
    for path in (tmp_path, tmp_path / "c.yaml"):
        with pytest.raises(ConfigError):
            read_cluster_file(path)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=12,
)
KEYS = ["provider", "file_mounts", "available_node_types", HEAD, WORKER, "setup_commands", "docker", "auth"]


@given(st.sampled_from(KEYS), PLAIN, st.sampled_from(FILES))
def test_whatever_stands_somewhere_is_told_and_never_breaks_the_rules(key: str, value: Any, name: str) -> None:
    tree = shipped(name) | {key: value}
    assert all(isinstance(problem, str) and problem for problem in problems_of(tree))


@given(
    PLAIN, st.sampled_from([GPU[:2], GPU, *((*GPU, key) for key in ("NetworkInterfaces", "MetadataOptions", "SecurityGroupIds"))])
)
def test_nor_does_whatever_stands_in_a_node_type(value: Any, path: tuple[str, ...]) -> None:
    assert all(problems_of(put(shipped("cluster.yaml"), path, value if value is not None else "")))


def test_ray_itself_still_lets_everybody_in_by_ssh() -> None:
    """Why a security group of one's own must be named: Ray adds this rule to the group that it makes, whatever is configured."""
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    source = (Path(spec.origin).parent / "autoscaler/_private/aws/config.py").read_text(encoding="utf-8")
    made = source[source.index("def _create_default_inbound_rules") : source.index("def _get_role")]
    assert "ssh_rules = _create_default_ssh_inbound_rules()" in made
    assert '"IpRanges": [{"CidrIp": "0.0.0.0/0"}]' in made


@pytest.mark.parametrize("name", FILES)
def test_what_a_file_brings_to_the_nodes_is_there(name: str) -> None:
    mounts = {remote: local for remote, local in shipped(name)["file_mounts"].items() if not remote.startswith("~/.ray")}
    assert all((ROOT / local).exists() for local in mounts.values())
    packages = {path.parent.name for path in ROOT.glob("*/py.typed")}
    assert packages <= {os.path.basename(remote) for remote in mounts}


@pytest.mark.parametrize(("name", "is_aws"), [("cluster.yaml", True), ("cluster.onprem.yaml", False)])
def test_what_is_still_to_be_replaced_is_named_and_no_rule_of_another_provider(name: str, is_aws: bool) -> None:
    tree = read_cluster_file(ROOT / name)
    assert (len(rules_for(tree)) == len(RULES)) == is_aws
    left = placeholders_in(tree)
    assert bool(left) == is_aws
    assert len(left) == len(set(left)) and all(re.fullmatch(r"(ami|fs|sg|subnet)-0+", each) for each in left)
    assert placeholders_in({"ImageId": "ami-0123456789abcdef0", "Subnet": "subnet-00000000f"}) == []
    assert ("not yours yet, and to be replaced before `ray up`: " in check(name).stdout) == is_aws
