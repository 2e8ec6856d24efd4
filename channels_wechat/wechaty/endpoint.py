"""Where a puppet service is: as staff entered it, or as the directory of Wechaty says, and which address may be called."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import grpc
from django.core.exceptions import ValidationError

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.inbound_fields import word
from channels_wechat.wechaty.credentials import OFF
from channels_wechat.wechaty.errors import WECHATY
from channels_wechat.wire.addresses import parse_address
from channels_wechat.wire.http import error_for_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.http_client import HttpClient

# The certificate authority of the Wechaty community, until 2031-08-07: wechaty-puppet-service 1.19.9, src/auth/ca.ts, Apache-2.0.
COMMUNITY_CA = Path(__file__).with_name("community_ca.pem")
OFFLINE_SECONDS = 60.0
NOWHERE = "0.0.0.0"  # noqa: S104 - how the directory says that a service is offline
# The largest answer: a service that gives files within its answers may use all of it.
LARGEST_ANSWER = 80 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """What a channel is opened with. address: checked, as gRPC writes it; tls: None without TLS."""

    address: str
    options: tuple[tuple[str, Any], ...]
    tls: grpc.ChannelCredentials | None = field(repr=False)


def find_target(credentials: Mapping[str, Any], directory: str, http: HttpClient) -> Target:
    """Return where the service is, at an address that the guard lets through. Waits for the network. Raises ChannelError.

    directory: the address of the directory, without a slash at its end.
    """
    token, secure = str(credentials["token"]), credentials.get("tls") != OFF
    endpoint = str(credentials.get("endpoint") or "") or _discover(token, directory, http)
    try:
        origin = parse_address(f"https://{endpoint}")
        addresses = http.guard.resolve(origin.host, origin.port, secure=secure)
    except ValidationError as error:
        raise WECHATY.error("address_invalid") from error
    except (OSError, UnicodeError) as error:
        raise WECHATY.error("service_away", detail=type(error).__name__) from error
    name = str(credentials.get("server_name") or "") or server_name(token) or origin.host
    options = _options(origin.host, origin.port, name if secure else "")
    return Target(_as_grpc_writes(addresses, origin.port), options, _read_tls(credentials) if secure else None)


def server_name(token: str) -> str:
    """Return what stands before the last underscore of the token, in small letters, as wechaty-token does; empty where there is none."""
    return token.rpartition("_")[0].lower()


def _options(host: str, port: int, name: str) -> tuple[tuple[str, Any], ...]:
    """name: of the certificate; empty without TLS."""
    told = ("grpc.ssl_target_name_override", name) if name else ("grpc.default_authority", f"{_bracketed(host)}:{port}")
    return (
        told,
        # The address was checked: neither a proxy of the environment nor a connection of another channel may take its place.
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
        # A call that may have been carried out is repeated by nobody but the pipeline.
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.max_receive_message_length", LARGEST_ANSWER),
    )


def _read_tls(credentials: Mapping[str, Any]) -> grpc.ChannelCredentials:
    pem = str(credentials.get("ca") or "") or COMMUNITY_CA.read_text()
    return grpc.ssl_channel_credentials(root_certificates=pem.encode())


def _as_grpc_writes(addresses: list[str], port: int) -> str:
    """All addresses of the family of the first one: gRPC takes one family at a time."""
    version = ipaddress.ip_address(addresses[0].partition("%")[0]).version
    same = [each for each in addresses if ipaddress.ip_address(each.partition("%")[0]).version == version]
    return f"ipv{version}:" + ",".join(f"{_bracketed(each)}:{port}" for each in same)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _discover(token: str, directory: str, http: HttpClient) -> str:
    """Return `host:port` as the directory says. Its answer is checked as if a stranger had written it. Raises ChannelError."""
    try:
        response = http.request("GET", f"{directory}/v0/hosties/{quote(token, safe='')}", follow=0)
    except ChannelError as error:  # its words name the path, which holds the token
        host = urlsplit(directory).hostname or ""
        raise WECHATY.error(
            error.code, error.action, detail=host, params=error.params, retry_after=error.retry_after
        ) from None
    if response.status in (400, 404, 410, 422):
        raise WECHATY.error("directory_unknown")
    if response.status != 200:
        raise _without_words(error_for_status(response, harmless=True))
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        raise WECHATY.error("directory_unreadable") from None
    return _read_place(answer)


def _without_words(error: ChannelError) -> ChannelError:
    """The directory, or a server before it, may repeat the token."""
    params = {name: value for name, value in error.params.items() if name == "status"}
    return WECHATY.error(error.code, error.action, params=params, retry_after=error.retry_after)


def _read_place(answer: Any) -> str:
    host, port = word(answer, "host") or word(answer, "ip"), word(answer, "port")
    if host in ("", NOWHERE) or port in ("", "0"):
        raise WECHATY.error("directory_offline", retry_after=OFFLINE_SECONDS)
    if not (port.isascii() and port.isdigit()) or any(mark in host for mark in "/@?#:"):
        raise WECHATY.error("directory_unreadable")
    return f"{host}:{port}"
