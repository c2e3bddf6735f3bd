"""Floor 0: every limit with its default; the `limits` section of the config file has the same keys."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

AtLeastOne: TypeAlias = Annotated[int, Meta(ge=1)]
OrNone: TypeAlias = Annotated[int, Meta(ge=0)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits of the server. 0 means no limit where the comment says so."""

    line: AtLeastOne = 16_384  # bytes of one line, text or JSON, without its line end, and so of the longest message
    payload: OrNone = 1_048_576  # raw bytes after one JSON frame, and bytes of one MQTT packet
    backlog: AtLeastOne = 262_144  # bytes of answers that wait for one peer before its requests wait, too
    waiting_per_address: OrNone = 8_388_608  # bytes that wait for the connections of one address; 0: no limit
    connections: AtLeastOne = 10_000  # connections at a time
    connections_per_address: OrNone = 200  # connections at a time from one address (IPv6: a /64); 0: no limit
    retained_per_user: OrNone = 1_048_576  # bytes that the embedded broker retains for one user; 0: no limit
    retained: OrNone = 16_777_216  # bytes that the embedded broker retains for all users; 0: no limit
    queued: AtLeastOne = 1_000  # messages that the embedded broker keeps for a client that is away
    login_seconds: AtLeastOne = 30  # seconds until a connection has a name
    handshake_seconds: AtLeastOne = 10  # seconds that a TLS handshake, or the header of a proxy, may take
    headers_waiting: AtLeastOne = 500  # connections of proxies without a header; while more wait, one may take a second
    handshakes_per_address: OrNone = 40  # TLS handshakes of one address at a time; further ones wait; 0: no limit
    login_requests: AtLeastOne = 10  # requests of a connection before it has a name
    login_bytes: AtLeastOne = 32_768  # bytes that a connection may send, and be sent, before a name; and of a CONNECT
    name_tries: AtLeastOne = 3  # names that break the rule before the connection ends
    topic_bytes: AtLeastOne = 1_024  # bytes of an MQTT topic, and of a topic filter
    topic_levels: AtLeastOne = 32  # levels of an MQTT topic filter
    filters: AtLeastOne = 2_000  # topic filters of one MQTT client
    filter_bytes: AtLeastOne = 3_145_728  # bytes of memory that the topic filters of one MQTT client take
    filter_bytes_per_address: OrNone = 16_777_216  # the same, of one address, with kept sessions; 0: no limit
    all_filter_bytes: OrNone = 134_217_728  # the same, of all MQTT clients and kept sessions; 0: no limit
    user_properties: OrNone = 100  # user properties of one MQTT packet
    session_days: AtLeastOne = 90  # days until the server deletes the session of an MQTT client that is away
    sessions_per_user: OrNone = 20  # sessions of MQTT clients that are kept for one user; 0: no limit
    sessions: OrNone = 20_000  # sessions of MQTT clients that are kept for all users; 0: no limit
    delayed_wills_per_user: OrNone = 20  # delayed wills of one user that wait; further ones are published at once
    delayed_wills: OrNone = 1_000  # delayed wills of all users that wait; further ones are published at once
    password_tries: AtLeastOne = 3  # wrong passwords before the connection ends, and before the name has to wait
    password_delay: OrNone = 60  # seconds that a name, or an address, waits at most after wrong passwords; 0: none
    passwords_waiting: AtLeastOne = 400  # passwords that wait for being checked; further ones are refused
    channels: AtLeastOne = 1_000  # channels of one user
    kept_channels: OrNone = 200  # channels that one user has created and that still exist; 0: no limit
    all_channels: OrNone = 100_000  # channels of the server; 0: no limit
    guest_talks: OrNone = 500  # private conversations that one guest has begun and that are kept; 0: no limit
    channel_days: AtLeastOne = 7  # days until a channel without members that never had a message leaves the store
    guest_days: AtLeastOne = 90  # days until the server forgets a guest who is away and of whom nothing is kept
    topic: AtLeastOne = 300  # characters of a channel's topic
    lag: OrNone = 100_000  # entries of one log that a reader may fall behind before the server skips some
    missed: OrNone = 500  # entries of one channel that a returning user gets who did not say `since`
    page: AtLeastOne = 1_000  # entries of one answer to `history`, and names of one answer to `channels` or `who`
    page_bytes: AtLeastOne = 262_144  # bytes of one answer to `history`, `channels` or `who`, as JSON
    cache: OrNone = 67_108_864  # bytes of memory that recent entries take, for readers that lag a little
    queue: OrNone = 262_144  # bytes of posts that wait for the store before the server reads their senders more slowly
    log_lines: OrNone = 20  # lines of one event in the log that one address causes in a minute; 0: no limit
    presence: OrNone = 200  # members online in a channel, above which they are not told who comes and goes

    posts_per_second: OrNone = 20  # posts of one user; faster ones wait; 0: no limit
    posts_burst: AtLeastOne = 40  # posts of one user that go at once after a pause
    post_bytes_per_second: OrNone = 16_384  # bytes of one user's posts beyond 1,024 of each; more wait; 0: no limit
    post_bytes_burst: AtLeastOne = 1_048_576  # of those that go at once after a pause
    pages_per_second: OrNone = 20  # lists and pages of history that one user asks for; faster ones wait; 0: no limit
    pages_burst: AtLeastOne = 100  # lists and pages of history that one user gets at once after a pause
    requests_per_second: OrNone = 500  # requests of one user that no other rate counts; faster ones wait; 0: no limit
    requests_burst: AtLeastOne = 2_000  # of those that go at once after a pause
    live_per_second: OrNone = 100  # live messages of one user; 0: no limit
    subscriptions_per_second: OrNone = 10  # MQTT packets of one user that subscribe or unsubscribe; faster ones wait
    subscriptions_burst: AtLeastOne = 200  # of those that go at once after a pause
    joins_per_minute: OrNone = 60  # channels that one user joins or leaves; 0: no limit
    topics_per_minute: OrNone = 10  # topics that one user sets; 0: no limit
    offers_per_minute: OrNone = 60  # files that one user offers or takes back; 0: no limit
    direct_per_minute: OrNone = 240  # direct transfers that one user announces or asks for; 0: no limit
    wills_per_minute: OrNone = 60  # wills of one user that are published; 0: no limit
    new_channels_per_hour: OrNone = 20  # channels that one user creates; 0: no limit
    new_talks_per_hour: OrNone = 100  # users whom one user writes to in private for the first time; 0: no limit
    registers_per_hour: OrNone = 10  # times that one user sets a password; 0: no limit
    connections_per_second: OrNone = 20  # connections that one address opens, also those that are refused; 0: no limit
    connections_burst: AtLeastOne = 400  # connections that one address opens at once after a pause
    logins_per_minute: OrNone = 600  # logins from one address, also those that fail; 0: no limit
    new_names_per_hour: OrNone = 300  # names from one address that nobody has used before; 0: no limit
    users_per_address: AtLeastOne = 5  # an address may do as much as so many users
    rates_kept: AtLeastOne = 8_192  # users, and addresses, of which the server remembers how much they have done lately

    file_size: OrNone = 4_294_967_296  # bytes of one file; 0: no limit
    files_per_user: OrNone = 8_589_934_592  # bytes of one user's files on the disk; 0: no limit
    files_per_guest: OrNone = 2_147_483_648  # the same for a user whose name is not registered; 0: no limit
    files_per_address: OrNone = 17_179_869_184  # bytes of the files from one address (IPv6: a /64); 0: no limit
    files_of_guests: OrNone = 8_589_934_592  # bytes of the files of all such users; 0: no limit
    files: OrNone = 34_359_738_368  # bytes of all files on the disk; 0: no limit
    offers_per_user: OrNone = 100  # incomplete files that one user offers at a time; 0: no limit
    offers_per_address: OrNone = 400  # incomplete files from one address at a time; 0: no limit
    offer_minutes: AtLeastOne = 60  # minutes without a new byte until the server ends the offer of an incomplete file
    file_days: AtLeastOne = 7  # days until the server deletes an offered file
    folder_files: AtLeastOne = 10_000  # files in one folder that is offered
    folder_bytes: AtLeastOne = 1_000_000  # bytes of the list of those files, as JSON
    open_files: AtLeastOne = 256  # files that the server keeps open for uploads and downloads; others are opened anew
    ranges: AtLeastOne = 1_024  # ranges of one upload that do not touch
    chunk: AtLeastOne = 262_144  # bytes of a file in one answer

    @property
    def cache_of_pages(self) -> int:
        """The part of `cache` for pages that were encoded for lagging readers, in bytes."""
        return self.cache // 8

    @property
    def after_gap(self) -> int:
        """The count of entries that a reader gets after the notice of a gap."""
        return min(self.lag, self.missed)
