"""Limits of one web process. Each kind of work has limits of its own, so that none can take what another needs."""

from __future__ import annotations

KIB, MIB = 1024, 1024 * 1024

# Threads. Pages wait for the database and for one interpreter, so more threads would only wait more. Polls, look-ups of accounts and
# passive replies are short. Storing has one thread with a connection of its own, because it commits for all requests of a moment.
PAGE_THREADS = 8
CALLBACK_THREADS = 4
STORE_THREADS = 1
# Threads that use the database. With fewer connections in the pool, one kind of work would wait for another.
WEB_THREADS = PAGE_THREADS + CALLBACK_THREADS + STORE_THREADS

# Callbacks that wait for their answer. Each is a coroutine without a thread, but each reads the rows from time to time.
MAX_WAITING_REPLIES = 256
# Callbacks that are being read or answered. Only the platform knows an account's address; this limits what others can do who got it.
MAX_CALLBACKS = 1024

# Page requests whose body is being read, and those that wait for a thread or have one. Further requests get 503 and may try again.
MAX_PAGE_BODIES = 512
MAX_PAGES = 64
# How many of these one client address may have. A browser opens six connections.
MAX_PAGES_FOR_ONE = 24
# Passwords that are checked at the same time. Each takes half a second of a core.
MAX_LOGINS = 2

# Bytes. The largest body of a client that is not logged in: a login form has a few hundred. A larger body of a client that is logged in
# is written to a temporary file, and Django writes its files to another one. With so few of them at the same time, the temporary files of
# a process stay below `MAX_LARGE_BODIES * 2 * MAX_BODY`.
MAX_ANONYMOUS_BODY = 64 * KIB
MAX_BODY = 65 * MIB
MAX_LARGE_BODIES = 2
# The longest path with its query, and the largest head of a page request.
MAX_TARGET = 4 * KIB
MAX_HEAD = 32 * KIB

# Seconds. A platform waits five. Staff may have a slow connection; a client that is not logged in has less time.
CALLBACK_BODY_SECONDS = 5
ANONYMOUS_BODY_SECONDS = 10
BODY_SECONDS = 300
# How long a page request waits for a thread.
PAGE_WAIT_SECONDS = 10
# How long a callback waits for its account, for the commit of its batch, and in all until its row is stored: the batch before it may take
# as long, and then both are written to the spool. After this time the database counts as away, and the platform still waits for an answer.
LOOKUP_SECONDS = 1.0
STORE_SECONDS = 1.5
RECEIVE_SECONDS = 3.8
# How long a callback waits while a full spool is drained into the database: a few thousand rows.
SPOOL_WAIT_SECONDS = 1.0
# How long a poll waits for the rows before the platform gets the answer that the agent still works.
POLL_SECONDS = 2.0

# Limits of the web server itself: how long a connection may take to send the head of a request, or be idle, and how many there may be.
HEAD_SECONDS = 15
MAX_CONNECTIONS = 8192
