"""What may not stand in a file for `ray up`: each rule is a function from the file's tree to sentences, one for each breach."""

import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema

from trainables.paths import read_yaml
from trainables.plain_files import read_json
from tuner.literal_secrets import is_secret, secrets_in
from tuner.ray_start import RayStart, ray_starts

Tree = dict[str, Any]
TOKEN_PATH = "~/.ray/auth_token"
"""Where Ray looks for its token where nothing else is said."""
_WIDEST_PREFIX = {4: 8, 6: 16}
_NETWORK = re.compile(r"[0-9A-Fa-f:.]*[0-9A-Fa-f:]/\d{1,3}\b")
_DASHBOARD_HOST = re.compile(r"--dashboard-host[=\s]+[\"']?([^\s\"']+)")
_PLACEHOLDER = re.compile(r"\b(?:ami|fs|sg|subnet|vpc)-0{8,17}\b")
_PUBLISHED = re.compile(r"(?:-p|--publish)[=\s]*(?!127\.0\.0\.1:)\S*\b8265\b|--net(?:work)?[=\s]+host.*--dashboard-host")
_CLOSED = re.compile(r"\bchmod\s+0?700\s+[\"']?([^\s\"';&|]+)")
_LOOPBACK = {"127.0.0.1", "localhost", "::1", "[::1]"}


def read_cluster_file(path: Path) -> Tree:
    """The tree in a YAML file that may come from anybody.

    Raises:
        ConfigError: no such file, no YAML mapping, tags of Python's, or more than a cluster ever needs.
    """
    return read_yaml(path)


def problems_of(tree: Tree) -> list[str]:
    """A sentence for each breach of each rule; empty where nothing is wrong."""
    return list(dict.fromkeys(problem for rule in RULES.values() for problem in rule(tree)))


def fits_rays_schema(tree: Tree) -> Iterator[str]:
    """Breaks of the schema that comes with Ray; values are not repeated, for they may be secrets."""
    for error in jsonschema.Draft7Validator(rays_schema()).iter_errors(_with_text_keys(tree)):
        where = ".".join(map(str, error.absolute_path)) or "the file"
        if error.validator in {"required", "additionalProperties"}:
            yield f"{where}: {error.message}"
        else:
            yield f"{where}: {error.validator} must be {json.dumps(error.validator_value)[:100]}, but got {_kind(error.instance)}"


def rays_schema() -> dict[str, Any]:
    """`ray-schema.json` of the Ray that is installed, which is not imported for it."""
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    schema: dict[str, Any] = read_json(Path(spec.origin).parent / "autoscaler" / "ray-schema.json")
    return schema


def opens_nothing_to_the_world(tree: Tree) -> Iterator[str]:
    """Networks that are (nearly) everybody: 0.0.0.0/0, ::/0, and halves of them."""
    for path, text in _texts(tree):
        for written in _NETWORK.findall(text):
            try:
                network = ipaddress.ip_network(written, strict=False)
            except ValueError:
                continue
            if network.prefixlen < _WIDEST_PREFIX[network.version]:
                yield f"{path}: {written} opens it to the world; name the one network that needs it, such as 203.0.113.7/32"


def holds_no_secret(tree: Tree) -> Iterator[str]:
    """Secrets as they are; in a file they are copied, committed and mailed."""
    for path, text in _texts(tree):
        kinds = secrets_in(text)
        if not kinds and not path.startswith("file_mounts.") and is_secret(path.rpartition(".")[2], text):
            kinds = ["a value that is one by its name"]
        for kind in kinds:
            yield f"{path}: a secret stands here ({kind}); bring it by file_mounts, from a file that only you can read"


def needs_the_token(tree: Tree) -> Iterator[str]:
    """A Ray that is started without its token, which runs what anybody sends it, or whose token never arrives."""
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        if not any(True for command in _commands(tree, key) for _ in ray_starts(command)):
            yield f"{key}: must hold a `ray start` with RAY_AUTH_MODE=token; Ray's own command starts it without a token"
    for path, start in _all_starts(tree):
        if start.auth_mode != "token":
            got = start.auth_mode or "none"
            yield f"{path}: RAY_AUTH_MODE=token must hold for each `ray start` (after sudo, which drops it), but got {got}"
    mounts = tree.get("file_mounts")
    local = mounts.get(_token_path(tree)) if isinstance(mounts, dict) else None
    if not isinstance(local, str):
        yield f"file_mounts: must bring the token to {_token_path(tree)}, from a file that only you can read, but does not"
    elif (mode_bits := _mode(local)) & 0o077:
        yield f"file_mounts: {local} must be readable by you alone (mode 600), but has mode {mode_bits:o}; chmod 600 {local}"


def keeps_files_private(tree: Tree) -> Iterator[str]:
    """A Ray whose files and sockets other accounts of its machine reach.

    Workers have the umask of what started them.  Ray opens its temporary folder to everybody (mode 777), whatever the umask: only
    a folder around it that is closed keeps them out.
    """
    closed = {_in_home(folder) for _, command in _all_commands(tree) for folder in _CLOSED.findall(command)}
    for path, start in _all_starts(tree):
        if start.umask.lstrip("0") != "77":
            got = start.umask or "none"
            yield f"{path}: `umask 077` must stand before each `ray start`, or others read its files, but got {got}"
        folder = start.option("temp-dir")
        if not folder or not folder.startswith(("/", "$HOME/", "${HOME}/")):
            got = folder or "none"
            yield f"{path}: `ray start` must have --temp-dir, absolute or below $HOME (Ray reads no ~), but got {got}"
        elif (around := _in_home(folder.rstrip("/").rpartition("/")[0])) not in closed:
            yield f"{path}: the folder around --temp-dir={folder} must be closed by a command: `chmod 700 {around}`, but is not"


def shows_no_dashboard(tree: Tree) -> Iterator[str]:
    """A dashboard that other machines reach: it runs what it is sent."""
    for path, command in _all_commands(tree):
        for host in _DASHBOARD_HOST.findall(command):
            if host not in _LOOPBACK:
                yield f"{path}: --dashboard-host must be 127.0.0.1, but got {host}"
    for path, start in _all_starts(tree):
        if start.is_head and (start.option("include-dashboard") or "").lower() != "false":
            yield f"{path}: `ray start --head` must have --include-dashboard=false; `ray exec` and `ray attach` need none"
    for path, text in _texts(tree):
        if _PUBLISHED.search(text):
            yield f"{path}: the dashboard's port 8265 must not be published"


def shuts_aws_off(tree: Tree) -> Iterator[str]:
    """Machines on AWS that the world reaches, or that hand their role's keys to whoever makes them fetch a page."""
    if not _is_on_aws(tree):
        return
    provider = tree["provider"]
    if provider.get("use_internal_ips") is not True:
        yield f"provider.use_internal_ips: must be true, but got {provider.get('use_internal_ips')!r}"
    node_types = tree.get("available_node_types")
    if not isinstance(node_types, dict):
        yield "available_node_types: must be given; Ray's own have a security group that lets everybody in by SSH"
        return
    for name, node_type in node_types.items():
        where, config = f"available_node_types.{name}.node_config", _mapping(_mapping(node_type).get("node_config"))
        interfaces = [_mapping(interface) for interface in _list(config.get("NetworkInterfaces"))]
        if not config.get("SecurityGroupIds") and not (interfaces and all(each.get("Groups") for each in interfaces)):
            yield f"{where}.SecurityGroupIds: must name your own; the one that Ray makes lets everybody in by SSH"
        if any(each.get("AssociatePublicIpAddress") for each in interfaces):
            yield f"{where}.NetworkInterfaces: AssociatePublicIpAddress must not be set"
        if _mapping(config.get("MetadataOptions")).get("HttpTokens") != "required":
            yield f"{where}.MetadataOptions: HttpTokens must be `required` (IMDSv2 alone); IMDSv1 gives keys away"


RULES: dict[str, Callable[[Tree], Iterator[str]]] = {
    "Ray's schema": fits_rays_schema,
    "networks open to the world": opens_nothing_to_the_world,
    "secrets": holds_no_secret,
    "the token, at every `ray start`": needs_the_token,
    "files and sockets on the nodes": keeps_files_private,
    "the dashboard": shows_no_dashboard,
    "AWS: security groups, IMDSv2, internal addresses": shuts_aws_off,
}
"""What is looked at -> the rule."""


def rules_for(tree: Tree) -> list[str]:
    """What is looked at in a file for its provider."""
    return [what for what, rule in RULES.items() if rule is not shuts_aws_off or _is_on_aws(tree)]


def _is_on_aws(tree: Tree) -> bool:
    return _mapping(tree.get("provider")).get("type") == "aws"


def placeholders_in(tree: Tree) -> list[str]:
    """AWS's names that are all zeros, each once: they stand in our own file for those of its user."""
    return list(dict.fromkeys(name for _, text in _texts(tree) for name in _PLACEHOLDER.findall(text)))


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a tree, keys too, with its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        inside = f"{path}.{key}" if path else str(key)
        if isinstance(key, str):
            yield inside.rpartition(".")[0] or "the file", key
        yield from _texts(inner, inside)
    if not isinstance(value, dict | list) and value is not None:
        yield path, str(value)


def _all_commands(tree: Tree) -> Iterator[tuple[str, str]]:
    """Every command, wherever one may stand, with its path."""
    return ((path, text) for path, text in _texts(tree) if re.search(r"_commands\.\d+$", path))


def _commands(tree: Tree, key: str) -> list[str]:
    return [command for command in _list(tree.get(key)) if isinstance(command, str)]


def _all_starts(tree: Tree) -> Iterator[tuple[str, RayStart]]:
    """Each `ray start`, with its command's path."""
    return ((path, start) for path, command in _all_commands(tree) for start in ray_starts(command))


def _in_home(folder: str) -> str:
    """A path in a user's home in one form, as a shell takes several."""
    return re.sub(r"^(\$HOME|\$\{HOME\})(?=/|$)", "~", folder)


def _token_path(tree: Tree) -> str:
    """Where the nodes look for the token."""
    named = [
        path for _, command in _all_commands(tree) for path in re.findall(r"\bRAY_AUTH_TOKEN_PATH=[\"']?([^\s\"';&]+)", command)
    ]
    return named[0] if named else TOKEN_PATH


def _mode(local: str) -> int:
    """Permission bits of a file of this machine; 0 where it is not there yet."""
    path = Path(local).expanduser()
    return path.stat().st_mode & 0o777 if path.exists() else 0


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _with_text_keys(value: Any) -> Any:
    """The same with keys as JSON has them: YAML takes `on` for true and 1 for a number."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    return [_with_text_keys(inner) for inner in value] if isinstance(value, list) else value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _kind(value: Any) -> str:
    return {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}.get(
        type(value), "a number"
    )
