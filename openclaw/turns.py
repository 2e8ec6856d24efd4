"""What goes to an agent and what comes back, independent of the transport."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from openclaw.device import Device


@dataclass(frozen=True)
class Endpoint:
    """The address of a gateway and what the bridge signs in with; `token` is `gateway.auth.token` of openclaw.json.

    private_hosts: `host:port` that may be reached though they are private, or without TLS (`wire.ssrf_guard`); None: every host.
    No setting allows link-local and metadata addresses.
    """

    base_url: str
    token: str = field(repr=False)
    device: Device | None = None
    device_token: str = field(default="", repr=False)
    private_hosts: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Attachment:
    """A file for the agent. Images reach the model as images, other files as text or as a file in its workspace."""

    kind: Literal["image", "file"]
    name: str
    mime: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Turn:
    """One question. The gateway remembers `idempotency_key` until it restarts, and it is the run's id.

    `timeout` is the longest time that a run may take, in seconds; the gateway itself ends a longer one.
    """

    session_key: str
    agent_id: str
    message: str
    idempotency_key: str
    extra_system_prompt: str = ""
    attachments: tuple[Attachment, ...] = ()
    timeout: float = 600.0


@dataclass(frozen=True)
class MediaRef:
    """A file the agent named: an http(s) address, or an artifact that `GatewayClient.download` gives."""

    url: str = ""
    artifact_id: str = ""
    name: str = ""
    mime: str = ""


@dataclass(frozen=True)
class Answer:
    """A completed run. Empty text without media means that the agent chose to say nothing (NO_REPLY).

    `missing` names files that cannot be fetched, because the agent named a path on the gateway's own disk. `is_cut`: the
    gateway gave only the beginning of the text.
    """

    text: str
    media: tuple[MediaRef, ...] = ()
    run_id: str = ""
    missing: tuple[str, ...] = ()
    is_cut: bool = False


@dataclass(frozen=True)
class Usage:
    """What a run used in all its calls of the model: tokens, and dollars if the gateway knows the model's prices.

    `input` counts the tokens that were not read from the model's cache; `model` is provider/model.
    """

    model: str = ""
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost: float | None = None


@dataclass(frozen=True)
class Policy:
    """The gateway's limits: bytes of a frame and of attachments, seconds between ticks."""

    max_payload: int = 26_214_400
    attachment_bytes: int = 19_464_192
    image_bytes: int = 6_291_456
    tick_interval: float = 30.0


@dataclass(frozen=True)
class Hello:
    """What a gateway says about itself when a connection opens; `boot_id` changes with every start.

    `device_token` is set if the gateway has just given this device a token, which has to be stored, encrypted.
    """

    protocol: int
    version: str
    boot_id: str
    device_token: str = field(repr=False)
    policy: Policy


@dataclass(frozen=True)
class AgentInfo:
    id: str
    name: str = ""
    model: str = ""


@dataclass(frozen=True)
class ProactiveReply:
    """The answer of a finished run that this client did not start, in a session of the bridge: the agent wrote without a question.

    `resumes` is the run that a restart interrupted and that this run finished, or empty. If that is a turn of the bridge,
    `recover` gives the same answer, so this one is dropped. A `run_id` in the form of the bridge's own keys is the late
    answer to a turn of an earlier connection.
    """

    session_key: str
    run_id: str
    answer: Answer
    resumes: str = ""
