import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.literal_secrets import is_secret, secrets_in

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("AKIAABCDEFGHIJKLMNOP", ["an AWS access key"]),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", ["a private key"]),
        ("-----BEGIN PRIVATE KEY-----", ["a private key"]),
        ("ghp_" + "a" * 36, ["an access token"]),
        ("hf_" + "a" * 34, ["an access token"]),
        (HEX, ["a token of 32 bytes"]),
        (f"echo {HEX} > ~/.ray/auth_token", ["a token of 32 bytes"]),
        ("export RAY_AUTH_TOKEN=abc", ["a value for RAY_AUTH_TOKEN"]),
        ("DB_PASSWORD='a b' run", ["a value for DB_PASSWORD"]),
        ("login --password hunter2", ["a value for password"]),
        ("curl https://me:hunter2@example.org", ["an address with a password in it"]),
        ('curl -H "Authorization: Bearer abcdefghijklmnop" https://x', ["a header that lets in"]),
        ("http x 'Authorization: Basic bWU6aHVudGVyMg=='", ["a header that lets in"]),
        ("echo sk-proj-abcdefghijklmnopqrstuvwx > ~/.k", ["an access token"]),
        ("sshpass -p hunter2 ssh x", ["a password for sshpass"]),
        ("curl -u me:hunter2 https://x", ["a user with a password"]),
        ("curl https://x --user=me:hunter2", ["a user with a password"]),
        ("export AWS_SECRET_ACCESS_KEY=/aBcdEFGhij/lkMNop", ["a value for AWS_SECRET_ACCESS_KEY"]),
        ("mlflow --token=abc --password=def", ["a value for token", "a value for password"]),
    ],
)
def test_secrets_are_found_by_kind(text: str, kinds: list[str]) -> None:
    assert secrets_in(text) == kinds


@pytest.mark.parametrize(
    "text",
    [
        "RAY_AUTH_MODE=token ray start --head",
        "RAY_AUTH_TOKEN_PATH=~/.ray/auth_token ray start",
        "export RAY_AUTH_TOKEN=$(cat ~/.ray/auth_token)",
        "login --password-file /run/secrets/it",
        "login --password $PASSWORD",
        'curl -H "Authorization: Bearer $TOKEN" https://x',
        "curl -u me:$PASSWORD https://x",
        'sshpass -p "$PASSWORD" ssh x',
        "sshpass -f /run/secrets/it ssh x",
        "docker run --user 1000:1000 image",
        "GOOGLE_APPLICATION_CREDENTIALS=/run/secrets/it run",
        "DB_PASSWORD=./it run",
        f"image@sha256:{HEX}",
        f"--hash=sha256:{HEX}",
        "https://example.org:8080/path@2",
        "postgresql://me:$PASSWORD@host/db",
        "chmod 600 ~/.ray/auth_token",
        "the token travels by SSH",
    ],
)
def test_what_only_sounds_like_one_is_none(text: str) -> None:
    assert secrets_in(text) == []


@given(
    st.sampled_from(["password", "DB_PASSWD", "api_key", "SECRET", "auth-token"]),
    st.from_regex(r"[A-Za-z0-9!%+]{1,30}", fullmatch=True),
)
def test_a_value_for_a_secret_name_is_found_and_never_repeated(name: str, value: str) -> None:
    found = secrets_in(f"run --x 1; {name}={value}; ls")
    assert f"a value for {name}" in found
    assert is_secret(name, value)
    assert all(value not in kind.replace(name, "") for kind in found if len(value) > 12)


@given(st.text(max_size=200))
def test_any_text_is_looked_through(text: str) -> None:
    assert all(isinstance(kind, str) for kind in secrets_in(text))


def test_a_long_command_is_looked_through_at_once() -> None:
    assert secrets_in("a" * 200_000 + " " + "-" * 200_000 + "=" * 200_000) == []
