"""What somebody on another host tries at one address: prints a line for each thing that worked.  Run by row 19, and by it alone.

Arguments: host, ports (comma-separated), `none` or a token, the file that a task would make.
"""

import http.client
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

READ = """
import sys, ray
from ray._raylet import GcsClient
client = GcsClient(address=sys.argv[1])
print("keys", len(client.internal_kv_keys(b"", None, timeout=5)))
print("nodes", len(client.get_all_node_info(timeout=5)))
"""
RUN = """
import pathlib, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
print("ran", ray.get(ray.remote(lambda: pathlib.Path(sys.argv[2]).touch()).remote(), timeout=20))
"""
PATHS = ("/", "/api/version", "/api/jobs/", "/logs", "/metrics", "/get_or_create_runtime_env", "/delete_runtime_env_if_possible")


def try_python(code: str, *args: str) -> list[str]:
    """Lines that a Python program printed before it was refused or gave up."""
    try:
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as expired:
        return (expired.stdout or b"").decode().splitlines()
    return done.stdout.splitlines()


def try_http(host: str, port: int, token: str) -> list[str]:
    """Requests that were answered with success."""
    found = []
    headers = {"Content-Type": "application/octet-stream", **({"Authorization": f"Bearer {token}"} if token != "none" else {})}
    for path in PATHS:
        for method in ("GET", "POST"):
            connection = http.client.HTTPConnection(host, port, timeout=3)
            try:
                connection.request(method, path, b"" if method == "POST" else None, headers)
                status = connection.getresponse().status
            except (OSError, http.client.HTTPException):
                continue
            finally:
                connection.close()
            if status < 400:
                found.append(f"{method} {path}: {status}")
    return found


def sweep(host: str, port: int, token: str, file: str) -> list[str]:
    """All that worked at one port."""
    address = f"{host}:{port}"
    worked = try_http(host, port, token) + try_python(READ, address) + try_python(RUN, address, file)
    return [f"{port}: {line}" for line in worked]


def main() -> None:
    """Sweeps, several ports at once."""
    host, ports, token, file = sys.argv[1:]
    for key in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        os.environ.pop(key, None)
    if token != "none":
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda port: sweep(host, int(port), token, file), ports.split(","))
    print(json.dumps([line for lines in done for line in lines]))


if __name__ == "__main__":
    main()
