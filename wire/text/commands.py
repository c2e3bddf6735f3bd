"""Floor 0: the commands of the text dialect as one table, which drives parsing, help, completion and the docs."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from wire.actions import ACTION
from wire.errors import Refused
from wire.file_names import is_file_id
from wire.frames import (
    Bye,
    Cancel,
    Channels,
    Files,
    GetFile,
    Help,
    History,
    Join,
    Leave,
    Msg,
    Names,
    Query,
    Register,
    Request,
    Say,
    SendFile,
    Status,
    Topic,
    Who,
    Whois,
)
from wire.names import check_name, shorten

from .addressed import parse_topic

_LISTED = 100  # channels, or files, of one answer to a person
_NAMES = 500  # users of one answer to a person


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its usage, its summary, and the function that turns its arguments into a frame.

    `parse` takes the stripped text after the name. It raises ValueError if the text does not fit `usage`, and Refused
    for a name that breaks the rule. The text after the name of a `secret` command is shown to nobody.
    """

    name: str
    usage: str
    summary: str
    parse: Callable[[str], Request]
    aliases: tuple[str, ...] = ()
    detail: str = ""
    secret: bool = False


def _words(rest: str, least: int, most: int) -> list[str]:
    words = rest.split()
    if not least <= len(words) <= most:
        raise ValueError
    return words + [""] * (most - len(words))


def _channel(word: str) -> str:
    return check_name(word, "channel name") if word else ""


def _user(word: str) -> str:
    return check_name(word, "user name")


def _msg(rest: str) -> Request:
    user, _, text = rest.partition(" ")
    if not text.strip():
        raise ValueError
    if user.startswith("#"):
        raise Refused(
            "bad-name", f"/msg writes to a user. To write to a channel: {shorten(user)}: {shorten(text.strip())}"
        )
    return Msg(_user(user), text.strip())


def _query(rest: str) -> Request:
    user, _, text = rest.partition(" ")
    if user.startswith("#"):
        raise Refused("bad-name", f"/query talks with a user. To talk in a channel: /join {shorten(user)}")
    return Query(_user(user) if user else "", text.strip())


def _me(rest: str) -> Request:
    if not rest:
        raise ValueError
    return Say(ACTION + rest)


def _send(rest: str) -> Request:
    option, _, after = rest.partition(" ")
    direct = option == "--direct" and len(after.split()) > 1
    to, _, path = (after.strip() if direct else rest).partition(" ")
    if not path.strip():
        raise ValueError
    if direct and to.startswith("#"):
        raise Refused("bad-command", "--direct sends to a user, not to a channel.")
    name = check_name(to, "channel name" if to.startswith("#") else "user name")
    receiver = f"#{name}" if to.startswith("#") else name
    return SendFile(to=receiver, path=path.strip(), direct=direct, unseen=to.startswith("@"))


def _get(rest: str) -> Request:
    file, _, folder = rest.partition(" ")
    return GetFile(file=_file(file), folder=folder.strip())


def _file(word: str) -> str:
    if not word:
        raise ValueError
    if not is_file_id(word):
        raise Refused("no-such-file", f"{shorten(word)} is not the id of a file. /files lists the files.")
    return word


def _topic(rest: str) -> Request:
    topic = parse_topic(rest)
    return Topic(_channel(topic.channel), topic.text)


def _register(rest: str) -> Request:
    if not rest:
        raise ValueError
    return Register(rest)


def _who(rest: str) -> Request:
    channel, after = _words(rest, 0, 2)
    return Who("" if channel == "*" else _channel(channel), _user(after) if after else "", _NAMES)


def _channels(rest: str) -> Request:
    return Channels(_channel(_words(rest, 0, 1)[0]), _LISTED)


def _history(rest: str) -> Request:
    words = _words(rest, 0, 3)
    target = words.pop(0) if words[0] and not words[0].isdigit() else ""
    numbers = [int(word) for word in words if word]
    if len(numbers) > 2 or any(number < 1 for number in numbers):
        raise ValueError
    limit = numbers[0] if numbers else 20
    before = numbers[1] if len(numbers) > 1 else None
    if target.startswith("@"):
        return History(user=_user(target), limit=limit, before=before)
    return History(channel=_channel(target), limit=limit, before=before)


COMMANDS: tuple[Command, ...] = (
    Command("/join", "/join <channel>", "join a channel, which becomes your current one; a new name makes a channel",
            lambda rest: Join(_channel(_words(rest, 1, 1)[0]))),
    Command("/leave", "/leave [channel]", "leave the current channel, or the named one",
            lambda rest: Leave(_channel(_words(rest, 0, 1)[0])), aliases=("/part",)),
    Command("/me", "/me <text>", "say what you do: /me waves is shown as * alice waves", _me,
            detail="lab: /me waves does so in lab. A text that begins with /me is an action from wherever it comes: "
                   "also from a program, and over MQTT."),
    Command("/msg", "/msg <user> <text>", "send a private message; the server keeps it for a user who is away", _msg),
    Command("/query", "/query [user] [text]", "talk with a user: what you type goes there, as by /msg", _query,
            detail="/query bob talks with bob, until /query, /leave or /join <channel> leads back to a channel. A "
                   "line that begins with a channel and a colon still goes to that channel."),
    Command("/who", "/who [channel or *] [after]", "list the members of a channel, or everyone who is online", _who,
            detail=f"One answer has at most {_NAMES} names. /who lab bob shows those of lab that follow bob, and "
                   "/who * bob everyone online who follows bob."),
    Command("/names", "/names [channel]", "list the members of the current channel, or of the named one",
            lambda rest: Names(_channel(_words(rest, 0, 1)[0]), _NAMES),
            detail=f"It lists those who are online and those who are away, at most {_NAMES}."),
    Command("/channels", "/channels [after]", "list the channels with their members and topics", _channels,
            detail=f"One answer has at most {_LISTED} channels. /channels lab shows those whose names follow lab.",
            aliases=("/list",)),
    Command("/whois", "/whois <user>", "show whether a user is online, how, and since when",
            lambda rest: Whois(_user(_words(rest, 1, 1)[0]))),
    Command("/history", "/history [channel or @user] [n] [before]",
            "show the last n entries (20 by default), or the n before a number", _history,
            detail="/history lab 50 shows the last 50 entries of lab. /history lab 50 812 shows the 50 before number "
                   "812. /history @bob shows your private messages with bob."),
    Command("/topic", "/topic [channel] [text]", "show the topic of a channel, or set it (- clears it)", _topic,
            detail="/topic lab Tea time sets the topic of lab, if you are a member of lab. /topic lab shows it, and "
                   "/topic lab - clears it. The first word is always a channel; without one, /topic and /topic - are "
                   "about the current channel."),
    Command("/send", "/send <user or #channel> <path>",
            "send a file or a folder; the server keeps it for a user who is away", _send,
            detail="/send bob photo.jpg sends it to bob, and /send #lab results to all members of lab. A transfer "
                   "resumes after a lost connection. After a restart of the client, type the line again to resume it. "
                   "/send --direct bob photo.jpg sends it directly to bob's client, and through the server only if "
                   "that fails. The client does not send to a name that has never connected, which may be mistyped; "
                   "/send @bob photo.jpg does so. Only client.py has this command."),
    Command("/get", "/get <id> [folder]", "fetch a file that is offered to you", _get,
            detail="The file goes to your download folder, or to the named one. It appears there when its SHA-256 is "
                   "verified. Only client.py has this command."),
    Command("/files", "/files [after]", "list the files that are offered to you and by you",
            lambda rest: Files(after=_words(rest, 0, 1)[0], limit=_LISTED),
            detail="/files k3x7abcd shows those that were offered after k3x7abcd."),
    Command("/cancel", "/cancel <id>", "stop fetching a file, or take back a file that you offer",
            lambda rest: Cancel(file=_file(_words(rest, 1, 1)[0]))),
    Command("/register", "/register <password>", "bind your name to a password, which every later login needs",
            _register, secret=True),
    Command("/status", "/status", "show the status of the server, of the mirror, and of all servers of the chat",
            lambda rest: Status(*_words(rest, 0, 0))),
    Command("/help", "/help [command]", "list the commands, or explain one",
            lambda rest: Help(_words(rest, 0, 1)[0])),
    Command("exit", "exit", "leave; you stay a member of your channels, and the server keeps what you miss",
            lambda rest: Bye(), aliases=("/quit", "/exit")),
)  # fmt: skip

PLAIN: tuple[tuple[str, str], ...] = (
    ("<text>", "say it in the current channel"),
    ("<channel>: <text>", "say it in that channel"),
    ("//<text>", "say a text that begins with a slash"),
)

# What people type who look for a command and forget its slash, and what to tell them.
_WORDS = {"help": "Type /help for the commands", **dict.fromkeys(("quit", "bye"), "Type /quit to leave")}
LONGEST_WORD = max(map(len, _WORDS))  # characters

# Commands of other chats that this one does not have, and what to do instead.
_ABSENT = {"/nick": "A name holds for one connection. To have another one, leave with exit, and connect again with it."}

_LONGEST_MISTYPED = 2 * max(len(command.name) for command in COMMANDS)  # characters; to compare takes time

_by_name: dict[str, Command] = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}


def find(name: str) -> Command:
    """Return the command of that name or alias, with or without its slash. Raises Refused with the nearest name."""
    key = name.lower()
    command = _by_name.get(key) or _by_name.get("/" + key)
    if command is not None:
        return command
    key = key if key.startswith("/") else f"/{key}"
    if key in _ABSENT:
        raise Refused("unknown-command", _ABSENT[key])
    near = _nearest(key)
    hint = f"Did you mean {near}?" if near else "/help lists the commands."
    shown = near is None or not _by_name[near].secret  # else the name may have a password glued to it
    raise Refused("unknown-command", f"Unknown command{' ' + shorten(name) if shown else ''}. {hint}")


def command_word(text: str) -> str:
    """Return what to tell a person whose text is only a word that may be meant as a command; empty for other texts."""
    return _WORDS.get(text.lower(), "") if len(text) <= LONGEST_WORD else ""


def _nearest(key: str) -> str | None:
    """Return the name that a mistyped one begins with, or else the most similar one; None if none is."""
    longer = [name for name in _by_name if name.startswith("/") and key.startswith(name)]
    if longer:
        return max(longer, key=len)
    if len(key) > _LONGEST_MISTYPED:
        return None
    near = difflib.get_close_matches(key, _by_name, 1, 0.51)
    return near[0] if near else None


def may_hold_secret(line: str) -> bool:
    """Return True if a typed line has, or may have, a password: it is an unknown command, or one that takes a password.

    Such a line is neither shown again nor kept.
    """
    return without_secret(line) != line


def without_secret(line: str) -> str:
    """Return a typed line as it may be shown: without what may be a password."""
    name, _ = _split(line)
    if not name.startswith("/") or name.startswith("//"):
        return line
    command = _by_name.get(name.lower())
    if command is None:
        return "…"
    return f"{command.name} …" if command.secret else line


def parse(line: str) -> Request | None:
    """Return the request of a command line; None if the line is not a command. Raises Refused."""
    if line[:1] != "/" and line[:4].lower() != "exit":  # most lines
        return None
    if line.startswith("//"):
        return Say(line[1:])
    name, rest = _split(line)
    if not name.startswith("/") and not (name.lower() == "exit" and not rest):
        return None
    command = find(name)
    try:
        return command.parse(rest)
    except ValueError:
        raise Refused("bad-command", f"Usage: {command.usage}") from None


def _also(command: Command) -> str:
    """Return the other names of a command, in parentheses."""
    return f" (also {', '.join(command.aliases)})" if command.aliases else ""


def _split(line: str) -> tuple[str, str]:
    """Return the first word of a line, and the stripped text after it."""
    words = line.split(maxsplit=1)
    return (words[0], words[1].strip()) if len(words) == 2 else (line.strip(), "")


def help_lines(name: str = "") -> list[str]:
    """Return the lines of `/help`, or those of `/help <command>`. Raises Refused for an unknown command."""
    if name:
        command = find(name)
        return [f"{command.usage} - {command.summary}{_also(command)}.", *([command.detail] if command.detail else [])]
    rows = [*((command.usage, command.summary + _also(command)) for command in COMMANDS), *PLAIN]
    width = max(len(usage) for usage, _ in rows)
    return [f"{usage:<{width}}  {summary}" for usage, summary in rows]
