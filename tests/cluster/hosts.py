"""Hosts made of namespaces: each has its own network, processes, host name, /tmp, /run, /root and /dev/shm, and an SSH server.

They share the rest of the disk, and a folder that all see under the same path, as NFS would show it.  Hosts are on one bridge,
which this machine is on, too.  Linux, root, iproute2, util-linux and openssh-server are needed (`what_is_missing`).
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SHARED = Path("/mnt/shared")
"""Where every host sees the shared folder."""
_PROGRAMS = ("ip", "unshare", "nsenter", "setpriv", "sshd", "ssh-keygen", "ssh", "rsync")
_HIDDEN = ("/tmp", "/run", "/root", "/dev/shm")
_SSHD = "/usr/sbin/sshd"
_SSHD_CONFIG = """\
Port 22
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
LogLevel ERROR
"""
_START_SECONDS = 20


def what_is_missing() -> str:
    """Why no hosts can be made here, in words; empty where they can."""
    if sys.platform != "linux":
        return f"namespaces are Linux's, but this is {sys.platform}"
    if os.geteuid() != 0:
        return "root is needed to make hosts of namespaces"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None and not Path(f"/usr/sbin/{name}").exists()]
    if missing:
        return f"{', '.join(missing)} must be installed (iproute2, util-linux, openssh-server, openssh-client, rsync)"
    made = _run("unshare", "--mount", "--pid", "--uts", "--net", "--fork", "true", check=False)
    return "" if made.returncode == 0 else f"namespaces cannot be made here: {made.stderr.strip()}"


@dataclass
class Host:
    """One host.

    Attributes:
        name: host name.
        address: on the bridge.
        pid: of its first process, seen from this machine; all others end with it.
        link: the bridge's end of its cable.
    """

    name: str
    address: str
    pid: int
    link: str

    def run(
        self, *command: str, check: bool = True, stdin: str = "", timeout_seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """A command on this host, as its root, in its home."""
        return _run(*self._inside(), *command, check=check, stdin=stdin, timeout_seconds=timeout_seconds)

    def start(self, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """The same, begun; what it prints is added to `log`.  It ends with its host."""
        with log.open("ab") as output:
            return subprocess.Popen([*self._inside(), *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def _inside(self) -> list[str]:
        """The words before a command on this host."""
        inside = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--uts", "--net", "--wd=/root"]
        return [*inside, "env", "-i", "HOME=/root", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]

    def processes(self) -> dict[int, str]:
        """Number (on this machine) -> command line of everything that runs on it."""
        space, found = os.readlink(f"/proc/{self.pid}/ns/pid"), {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(folder / "ns" / "pid") == space:
                    found[int(folder.name)] = (
                        (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    )
        return {pid: command for pid, command in found.items() if command}  # zombies have none

    def cut_off(self) -> None:
        """Pulls the cable out."""
        _run("ip", "link", "set", self.link, "down")

    def plug_in(self) -> None:
        """Puts the cable back."""
        _run("ip", "link", "set", self.link, "up")

    def freeze(self) -> None:
        """Stops every process."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets every process go on."""
        self._signal(signal.SIGCONT)

    def power_off(self) -> None:
        """Every process is gone at once, and nobody is told."""
        self.cut_off()
        self.kill()

    def kill(self) -> None:
        """Every process is gone at once; the kernel closes their connections."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@dataclass
class Hosts:
    """Some hosts on one bridge.

    Attributes:
        hosts: by their names' order.
        key: private SSH key that opens them, for `root`.
        shared: the shared folder, as this machine sees it; hosts see it as `SHARED`.
    """

    key: Path
    shared: Path
    hosts: list[Host] = field(default_factory=list)

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts)

    def __len__(self) -> int:
        return len(self.hosts)

    def __getitem__(self, index: int) -> Host:
        return self.hosts[index]


@contextlib.contextmanager
def made_hosts(names: Iterable[str], folder: Path) -> Iterator[Hosts]:
    """Makes hosts, and takes away all of them and whatever runs on them, however the block ends.

    Should this process be killed, so are they; their bridge goes when the next hosts are made.

    Args:
        names: their host names.
        folder: empty, of this machine: keys and the shared folder lie in it.
    """
    _remove_stale_networks()
    _make_keys(folder)
    shared = folder / "shared"
    shared.mkdir()
    made = Hosts(folder / "client_key", shared)
    number = os.getpid()
    subnet = f"10.{64 + secrets.randbelow(64)}.{secrets.randbelow(256)}"
    bridge, starters = f"tt{number}", []
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_networks_of, number)
        stack.callback(lambda: [_end(starter) for starter in starters])
        _run("ip", "link", "add", bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{subnet}.1/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        for index, name in enumerate(names):
            space, link, address = f"tritune-{number}-{index}", f"tt{number}.{index}", f"{subnet}.{10 + index}"
            _make_network(space, link, bridge, address, gateway=f"{subnet}.1")
            starter = _start_host(space, name, folder)
            starters.append(starter)
            made.hosts.append(Host(name, address, _first_process(starter), link))
        for host in made:
            _wait(lambda host=host: _answers_ssh(made, host), f"the SSH server of {host.name} to answer")  # type: ignore[misc]
        yield made


def _make_network(space: str, link: str, bridge: str, address: str, gateway: str) -> None:
    """A network with one cable to the bridge.  The way out leads nowhere, but without one Ray takes 127.0.0.1 for its address."""
    _run("ip", "netns", "add", space)
    _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
    _run("ip", "link", "set", link, "master", bridge, "up")
    _run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _run("ip", "-n", space, "link", "set", device, "up")
    _run("ip", "-n", space, "route", "add", "default", "via", gateway)


def _start_host(space: str, name: str, folder: Path) -> subprocess.Popen[bytes]:
    """Starts the first process of a host, which dies with us: a shell that mounts what is its own and becomes the SSH server."""
    script = folder / f"{name}.sh"
    script.write_text(_boot_script(name, folder), encoding="utf-8")
    own = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]
    command = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", space, *own, "bash", str(script)]
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _boot_script(name: str, folder: Path) -> str:
    """What lies below a folder that is hidden, and is needed on the host, is set aside first and shown again afterwards."""
    kept = [path for path in dict.fromkeys([str(folder), sys.prefix, sys.base_prefix]) if path.startswith(_HIDDEN)]
    lines = ["set -e", "mount --make-rprivate /", f"hostname {name}", "mount -t tmpfs tmpfs /mnt"]
    for number, path in enumerate(kept):
        lines += [f"mkdir /mnt/{number}", f"mount --bind '{path}' /mnt/{number}"]
    lines += [f"mkdir {SHARED}", f"mount --bind '{folder}/shared' {SHARED}"]
    lines += [f"mount -t tmpfs -o mode={'1777' if path in {'/tmp', '/dev/shm'} else '755'} tmpfs {path}" for path in _HIDDEN]
    for number, path in enumerate(kept):
        lines += [f"mkdir -p '{path}'", f"mount --bind /mnt/{number} '{path}'"]
    return "\n".join([*lines, "mkdir -p /run/sshd", f"cd /; exec {_SSHD} -D -e -f '{folder}/sshd_config'", ""])


def _make_keys(folder: Path) -> None:
    for name in ("host_key", "client_key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    (folder / "sshd_config").write_text(_SSHD_CONFIG.format(folder=folder), encoding="utf-8")


def _first_process(starter: subprocess.Popen[bytes]) -> int:
    """The child of `unshare`, which is process 1 of its host."""

    def children() -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()]

    _wait(lambda: bool(children()), "a host's first process")
    return children()[0]


def _answers_ssh(hosts: Hosts, host: Host) -> bool:
    options = [
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
        "-o",
        "ConnectTimeout=2",
    ]
    return _run("ssh", *options, "-i", str(hosts.key), f"root@{host.address}", "true", check=False).returncode == 0


def _wait(is_so: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + _START_SECONDS
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {_START_SECONDS} s for {what}")
        time.sleep(0.05)


def _end(starter: subprocess.Popen[bytes]) -> None:
    starter.kill()  # its child, and all of the host with that, goes too (--kill-child)
    starter.wait()


def _remove_networks_of(number: int) -> None:
    for space in [name for name in _network_spaces() if name.startswith(f"tritune-{number}-")]:
        _run("ip", "netns", "delete", space, check=False)
    _run("ip", "link", "delete", f"tt{number}", check=False)


def _remove_stale_networks() -> None:
    """What hosts of dead processes have left."""
    for number in {int(name.split("-")[1]) for name in _network_spaces() if name.startswith("tritune-")}:
        if not Path(f"/proc/{number}").exists():
            _remove_networks_of(number)


def _network_spaces() -> list[str]:
    return [line.split()[0] for line in _run("ip", "netns", "list").stdout.splitlines() if line.strip()]


def _run(*command: str, check: bool = True, stdin: str = "", timeout_seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=check, timeout=timeout_seconds)
