import os
import stat
from pathlib import Path

import pytest

from trainables.config import TrialConfig
from trainables.parts import ConfigError
from trainables.secrecy import holds_credentials, keep_files_private
from tuner.settings import parse_tracking_uri
from tuner.stores import parse_ledger_url

CANARY = "canary0123456789"
WITH = [
    f"https://user:{CANARY}@host/x",
    f"s3://key:{CANARY}@bucket",
    f"https:/user:{CANARY}@host",
    f"http://host/?token={CANARY}",
    f"http://host/x?a=1&api_key={CANARY}",
    f"sqlite:///x.db?password={CANARY}",
    f"postgresql://host/db?sslpassword={CANARY}",
    f"postgresql://host/db?sslmode=verify-full&sslkey={CANARY}",
    f"postgresql://host/db?sslkey=/home/me/k.pem&sslpassword={CANARY}",
    f"htp://user:{CANARY}@host",
    f"hf_{CANARY}{CANARY}",
]
WITHOUT = [
    "runs/night1",
    "/data/a:b@c",
    "google-bert/bert-base-uncased",
    "postgresql://user@host/db",
    "postgresql://host/db?sslmode=verify-full&sslcert=/home/me/c.pem&sslkey=/home/me/k.pem",
    "mysql://host/db?ssl_key=%2Fhome%2Fme%2Fk.pem",
    "sqlite:////x/m.db",
    "~/d",
    "C:/x",
]


@pytest.mark.parametrize("text", WITH)
def test_credentials_are_found_and_refused_without_being_told_again(text: str) -> None:
    assert holds_credentials(text)
    for refuse in (
        lambda: parse_tracking_uri(text),
        lambda: TrialConfig.parse({"data": {"source": text}}),
        lambda: TrialConfig.parse({"encoder": {"name": text}}),
    ):
        with pytest.raises(ConfigError) as caught:
            refuse()
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize("text", WITHOUT)
def test_names_of_places_are_none(text: str) -> None:
    assert not holds_credentials(text)


def test_a_ledgers_client_certificate_is_named_by_its_files() -> None:
    url = "postgresql://me@host/db?sslmode=verify-full&sslcert=/home/me/c.pem&sslkey=/home/me/k.pem"
    assert parse_ledger_url(url) == url
    with pytest.raises(ConfigError, match="a password must not stand in it"):
        parse_ledger_url(url.replace("/home/me/k.pem", CANARY))


def test_what_is_made_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        keep_files_private()
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").touch()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "folder" / "file").stat().st_mode) == 0o600
