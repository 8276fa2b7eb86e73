"""The key store: what it keeps, and what it refuses."""

import re

import pytest

from msgmetrics.errors import UserError
from msgmetrics.keys import KeyStore


@pytest.fixture
def store(tmp_path):
    return KeyStore(tmp_path / "endpoint" / "keys.sqlite")


def test_a_key_is_found_by_its_text_and_listed_by_its_label(store):
    text = store.create("acme", ["metrics:read", "metrics:manage"], {"acme"})
    assert re.fullmatch(r"am_live_[A-Za-z0-9_-]{32,}", text)
    found = store.find(text)
    assert found is not None
    assert (found.account_key, found.label) == ("acme", text[:14])
    assert found.scopes == ("metrics:read", "metrics:manage")
    assert store.list() == [found]
    assert store.find(text + "x") is None
    assert store.find(text[:-1]) is None
    assert store.find("") is None
    assert store.find("\ud800\0") is None


def test_the_text_of_a_key_is_nowhere_on_disk(store, tmp_path):
    text = store.create("acme", ["metrics:read"], {"acme"})
    for file in (tmp_path / "endpoint").iterdir():
        assert text.encode() not in file.read_bytes()
        assert text[14:].encode() not in file.read_bytes()


def test_a_revoked_key_is_listed_and_found_no_more(store):
    text = store.create("acme", ["metrics:read"], {"acme"})
    revoked = store.revoke(text[:14])
    assert revoked.revoked_at is not None
    assert store.find(text) is None
    assert store.list() == [revoked]
    assert store.revoke(revoked.key_id) == revoked


def test_a_label_that_two_live_keys_share_names_neither(store, monkeypatch):
    monkeypatch.setattr("msgmetrics.keys.LABEL_LENGTH", len("am_live_"))
    for _ in range(2):
        store.create("acme", ["metrics:read"], {"acme"})
    with pytest.raises(UserError, match="Several keys"):
        store.revoke("am_live_")
    store.revoke(store.list()[0].key_id)
    store.revoke("am_live_")
    assert all(key.revoked_at for key in store.list())


def test_what_cannot_be_is_one_sentence_for_the_user(store):
    for account, scopes in (
        ("acme", []),
        ("acme", ["metrics:write"]),
        ("acme", ["metrics:read", ""]),
        ("nobody", ["metrics:read"]),
    ):
        with pytest.raises(UserError):
            store.create(account, scopes, {"acme"})
    with pytest.raises(UserError):
        store.create("acme", ["metrics:read"], lambda account: False)
    with pytest.raises(UserError):
        store.revoke("am_live_nobody")
    assert store.list() == []
