"""Floor 0: MQTT topic names and filters: their rules, and which filter matches which topic (§4.7; 5 §4.8.2)."""

from __future__ import annotations

import re

SHARE = "$share/"
_LONGEST = 65_535  # bytes, as the length has 16 bits [MQTT-4.7.3-3]

# `+` is a whole level, wherever it is (3.1.1 [MQTT-4.7.1-3], 5 [MQTT-4.7.1-2]);
# `#` is the whole last level (3.1.1 [MQTT-4.7.1-2], 5 [MQTT-4.7.1-1]).
_FILTER = re.compile(r"(?:(?:\+|[^/+#]*+)/)*+(?:\+|#|[^/+#]*+)")  # possessive: it steps back nowhere
# A name of at least one character [MQTT-4.8.2-1], without wildcards, and a filter after it [MQTT-4.8.2-2].
_SHARE = re.compile(r"\$share/([^/+#]+)/(.+)", re.DOTALL)


def valid_topic(name: str) -> bool:
    """Return True for a legal topic name: it has no wildcards (3.1.1 [MQTT-4.7.1-1], 5 [MQTT-4.7.0-1])."""
    return "+" not in name and "#" not in name and _is_string(name)


def valid_filter(topic_filter: str) -> bool:
    """Return True for a legal topic filter. One that begins with `$share/` is a shared subscription, also in 3.1.1."""
    share = topic_filter.startswith(SHARE) and _SHARE.fullmatch(topic_filter)
    if share is None:
        return False
    levels = share[2] if share else topic_filter
    return _FILTER.fullmatch(levels) is not None and _is_string(topic_filter)


def split_share(topic_filter: str) -> tuple[str, str]:
    """Return the share name of a valid filter, and the filter for `matches`. Most filters have no share name."""
    share = _SHARE.fullmatch(topic_filter)
    return (share[1], share[2]) if share else ("", topic_filter)


def matches(topic_filter: str, topic: str) -> bool:
    """Return True if a valid filter (without `$share/…/`) matches a valid topic, byte for byte [MQTT-4.7.3-4]."""
    if "+" not in topic_filter and "#" not in topic_filter:
        return topic_filter == topic
    if topic.startswith("$") and topic_filter.startswith(("+", "#")):  # [MQTT-4.7.2-1]
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":  # the parent level, too: a/# matches a (§4.7.1.2)
        wanted.pop()
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(want in ("+", level) for want, level in zip(wanted, levels, strict=True))


def _is_string(text: str) -> bool:
    """Check for one character or more, no NUL and the length: [MQTT-4.7.3-1], [MQTT-4.7.3-2], [MQTT-4.7.3-3]."""
    # A character has at most four bytes, so only a long string needs encoding.
    return len(text) > 0 and "\0" not in text and (len(text) <= _LONGEST // 4 or len(text.encode()) <= _LONGEST)
