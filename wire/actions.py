"""Floor 0: actions, which `/me waves` posts: entries whose text begins with `/me `, in every dialect.

So a peer that knows nothing of actions still shows a sensible text, and any peer that can post can post one.
"""

from __future__ import annotations

ACTION = "/me "


def action_of(text: str) -> str | None:
    """Return what the sender of a text does, such as `waves`; None if the text is not an action."""
    if not text.startswith(ACTION):
        return None
    return text[len(ACTION) :].strip() or None
