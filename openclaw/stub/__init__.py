"""A small stand-in for an OpenClaw gateway: protocol 4 over WebSocket, the HTTP chat endpoint, an agent that repeats what it reads.

For the demo and for fast tests. It shares no code with the client, so that the two check each other.

    python -m openclaw.stub --port 18789 --token secret --agents main,support

Control, without authentication and on loopback only:
    GET  /_stub/record   runs with their key, session, message and how often each key ran
    POST /_stub/faults   {"starting": true, "fail_runs": 3, ...}, the fields of `gateway.Faults`
    POST /_stub/say      {"sessionKey": ..., "text": ...}, the agent sends a proactive message
    POST /_stub/restart  {"history": true}, a new boot
"""

from openclaw.stub.gateway import Faults
from openclaw.stub.running import RunningStub

__all__ = ["Faults", "RunningStub"]
