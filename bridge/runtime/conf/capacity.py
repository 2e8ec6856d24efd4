"""How much one web process does at the same time. Each kind of work has a bound of its own, so that none can take what another needs."""

from __future__ import annotations

KIB, MIB = 1024, 1024 * 1024

# Threads. Pages wait for the database and for one interpreter: more threads would only wait in more places. Polls, account look-ups and
# passive answers are short; storing is one thread with a connection of its own, because it commits for all requests of a moment.
PAGE_THREADS = 8
CALLBACK_THREADS = 4
STORE_THREADS = 1
# Those that use the database. A pool of fewer connections would let one kind wait for another.
WEB_THREADS = PAGE_THREADS + CALLBACK_THREADS + STORE_THREADS

# Callbacks that wait for their answer. Each is a coroutine without a thread; what bounds them is that each looks at the rows now and then.
MAX_WAITING_REPLIES = 256
# Callbacks that are being read or answered. An account's address is known to its platform alone, so this bounds one that was given away.
MAX_CALLBACKS = 1024

# Page requests whose body is being read; and those that wait for a thread or have one. Whoever comes then is told to come again.
MAX_PAGE_BODIES = 512
MAX_PAGES = 64
# Of these, as many as one address may have. A browser opens six connections.
MAX_PAGES_FOR_ONE = 24
# Passwords that are compared at the same time: half a second of a core each.
MAX_LOGINS = 2

# Bytes. The largest body for whoever is not logged in: a login form has a few hundred. A larger body of somebody who is logged in goes to a
# temporary file, and Django writes its files to another one: so few of them at once keep the temporary folder below
# `MAX_LARGE_BODIES * 2 * MAX_BODY` for each process.
MAX_ANONYMOUS_BODY = 64 * KIB
MAX_BODY = 65 * MIB
MAX_LARGE_BODIES = 2
# The longest path with its query, and the largest head of a page request.
MAX_TARGET = 4 * KIB
MAX_HEAD = 32 * KIB

# Seconds. A platform gives up after five; staff may have a slow line, strangers need not.
CALLBACK_BODY_SECONDS = 5
ANONYMOUS_BODY_SECONDS = 10
BODY_SECONDS = 300
# How long a page request waits for a thread.
PAGE_WAIT_SECONDS = 10
# How long a callback waits for its account, for the commit of its batch, and for its row altogether: the batch before it may take as long,
# and then both are written to the spool. After such a time the database counts as away, and the platform still has time to hear that.
LOOKUP_SECONDS = 1.0
STORE_SECONDS = 1.5
RECEIVE_SECONDS = 3.8
# How long a callback waits for a full spool to be drained: some thousand rows.
DRAIN_SECONDS = 1.0
# How long a poll waits for the rows before it is told that the agent still works.
POLL_SECONDS = 2.0

# The web server's own: how long a connection may take for a request's head, or say nothing at all, and how many there may be.
HEAD_SECONDS = 15
MAX_CONNECTIONS = 8192
