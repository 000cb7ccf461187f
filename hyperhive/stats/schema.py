"""The telemetry tables of stats.db, as they grew. See hyperhive-stats.db(5)."""

from sqlite_utils import Database, Migrations

migrations = Migrations("telemetry")  # after those of stats.py, whose table of turns grows here


@migrations()
def first(db: Database) -> None:
    db.executescript("""
        alter table turns add column ended_at text;
        alter table turns add column exit_code integer;
        alter table turns add column last_tokens_in integer;
        alter table turns add column last_tokens_out integer;
        alter table turns add column last_tokens_cache_read integer;
        alter table turns add column last_tokens_cache_write integer;
        alter table turns add column notes_bytes integer;
        alter table turns add column claude_ms integer;
        alter table turns add column answer_ms integer;
        update turns set ended_at = coalesce(
            strftime('%Y-%m-%dT%H:%M:%fZ', started_at, duration_ms / 1000.0 || ' seconds'), started_at);
        create index turns_ended
            on turns(ended_at, agent, outcome, model, duration_ms, cost_usd, woken_by);
        create index turns_woken on turns(agent, woken_by, ended_at);
        create index turns_outcome on turns(agent, outcome, number);
        create index turns_invocation on turns(invocation, number);
        create table series(
            key text not null, agent text not null, kind text not null, unit text not null,
            primary key(key, agent)
        ) strict, without rowid;
        create table stats(
            agent text not null, ts integer not null, key text not null, value real not null,
            primary key(key, agent, ts)
        ) strict, without rowid;
        create table stats_hour(
            agent text not null, ts integer not null, key text not null, count integer not null,
            sum real not null, min real not null, max real not null, last real not null,
            primary key(key, agent, ts)
        ) strict, without rowid;
        create table stats_spread(
            agent text not null, ts integer not null, key text not null, step integer not null,
            count integer not null, primary key(key, agent, ts, step)
        ) strict, without rowid;
    """)


@migrations()
def records(db: Database) -> None:
    db.executescript("""
        create table messages(
            id integer primary key, sender text not null, recipient text not null, sent_at text not null,
            bytes integer not null, in_reply_to integer, first_delivered_at text, done_at text,
            state text not null, attempts integer not null
        ) strict;
        create index messages_sent on messages(sent_at);
        create index messages_pair
            on messages(recipient, sender, sent_at, bytes, first_delivered_at);
        create index messages_again on messages(attempts) where attempts > 1;
        create index messages_dead on messages(id) where state = 'dead';
        create index messages_open on messages(id) where state in ('queued', 'leased');
        create table approvals(
            id integer primary key, kind text not null, agent text not null, requested_by text not null,
            requested_at text not null, risk text, state text not null, decided_by text, decided_at text,
            ended_at text, deploy integer
        ) strict;
        create table questions(
            id integer primary key, asker text not null, asked text not null, asked_at text not null,
            expires_at text, answered_at text, state text not null
        ) strict;
        create table crashes(
            invocation text primary key, agent text not null, unit text not null, at text not null,
            event text not null, result text, exit_status integer, signal text, runtime real,
            restarts integer, restarted integer
        ) strict;
        create index crashes_at on crashes(at);
        create table starts(
            invocation text primary key, agent text not null, at text not null, hello_ms integer,
            mail_ms integer, claude_ms integer, answer_ms integer
        ) strict;
        create index starts_at on starts(at);
    """)


@migrations()
def totals(db: Database) -> None:
    """And of what was before. Of spreads, which sum was of which step is not known, and nobody asks."""
    db.executescript("""
        create table stats_total(
            agent text not null, key text not null, step integer not null, count integer not null,
            sum real not null, primary key(agent, key, step)
        ) strict, without rowid;
        insert into stats_total select agent, key, 0, sum(count), sum(sum)
            from stats_hour join series using (key, agent) where kind in ('sum', 'mean') group by 1, 2;
        insert into stats_total select s.agent, s.key, s.step, sum(s.count), sum(s.count * h.sum / h.count)
            from stats_spread s join stats_hour h using (key, agent, ts) group by 1, 2, 3;
        create table stats_spread_6h(
            agent text not null, ts integer not null, key text not null, step integer not null,
            count integer not null, primary key(key, agent, ts, step)
        ) strict, without rowid;
        insert into stats_spread_6h select agent, ts / 21600000 * 21600000, key, step, sum(count)
            from stats_spread group by key, agent, 2, step;
    """)


@migrations()
def commands_denied(db: Database) -> None:
    db.executescript("""
        create table commands_denied(
            id integer primary key, agent text not null, program text not null, rule text not null,
            count integer not null, first_at text not null, last_at text not null
        ) strict;
        create index commands_denied_last on commands_denied(last_at);
    """)


@migrations()
def ways_out(db: Database) -> None:
    db.executescript("""
        create table egress(
            id integer primary key, agent text not null, host text not null, port integer not null,
            address text not null, rule text not null, end text not null, summed integer not null,
            count integer not null, first_at text not null, last_at text not null,
            bytes_sent integer not null, bytes_received integer not null, duration_ms integer not null
        ) strict;
        create unique index egress_sums on egress(agent, substr(first_at, 1, 13), host, port, rule, end)
            where summed;
        create index egress_hour on egress(agent, substr(first_at, 1, 13), summed);
        create index egress_last on egress(last_at);
        create table journal_read(id integer primary key check (id = 1), cursor text not null) strict;
    """)


@migrations()
def gone_wild(db: Database) -> None:
    db.executescript("""
        create table wild(
            agent text not null, kind text not null, since text not null, last_at text not null,
            count integer, turn integer, primary key(agent, kind, since)
        ) strict, without rowid;
    """)
