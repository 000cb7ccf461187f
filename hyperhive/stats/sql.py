"""What one batch of telemetry writes into stats.db: SQL from end to end, as Python would hold up the mail.

`hive` is hive.db, which is only read. Given are JSON lists: :touched (ids of mail), :delivered (id, agent,
time), :turns (agent, number), :requests, :questions, :denied (id, agent, ts), :runs (invocations), :starts
(invocation, agent, time, hello_ms), :points (kind, unit, key, agent, ts, value), :wild (agent, kind, since,
time, count, turn); and :now (ms), and
:catch_up: take what an earlier broker, or a disk that was full, left out. For more see ways_sql.py.

There are two transactions, as the log of hive.db cannot begin anew while somebody reads it: NEWS, which
reads it and is short, and OF_TURNS, which does not and has most of the points.
"""

from hyperhive.stats import ways_sql
from hyperhive.stats.series import HOUR, PER_DOUBLING, SIX_HOURS

SERIES_MAX = 300  # of an agent: hours are kept for ever, and a model may invent tools


def ms(column: str) -> str:
    """Of a time as text: Unix time in milliseconds."""
    return f"(cast(strftime('%s', {column}) as integer) * 1000 + substr({column}, 21, 3))"


def second(column: str) -> str:
    return f"(cast(strftime('%s', {column}) as integer) * 1000)"


FRESH = """
    create temp table fresh(
        kind text, unit text, key text, agent text, ts integer, value real, primary key(key, agent, ts)
    ) without rowid;
    create temp table fresh_turns(agent text, number integer, primary key(agent, number)) without rowid;
    create temp table fresh_mail(id integer primary key);
"""
FRESH += ways_sql.FRESH
ADD = "on conflict do update set value = value + excluded.value"

COLUMNS = (
    "agent number invocation started_at ended_at duration_ms outcome model woken_by messages"
    " tool_calls tools tokens_in tokens_out tokens_cache_read tokens_cache_write cost_usd session error"
    " exit_code last_tokens_in last_tokens_out last_tokens_cache_read last_tokens_cache_write notes_bytes"
    " claude_ms answer_ms"
).split()
REPORTED = f"""
    insert or replace into turns({", ".join(COLUMNS)})
    select {", ".join(f"record ->> '{column}'" for column in COLUMNS)} from hive.reported order by id
"""
LAST_REPORTED = "select coalesce(max(id), 0) from hive.reported"

# Which rows: mail that has changed, and turns without points. One that is told twice counts once.
FIND_MAIL = (
    "delete from fresh",
    "delete from fresh_mail",
    """
    insert or ignore into fresh_mail select value from json_each(:touched)
    union all select value ->> 0 from json_each(:delivered)
    """,
    """
    insert or ignore into fresh_mail
    select id from messages where :catch_up and state in ('queued', 'leased')
    union all select id from hive.message
        where :catch_up and id > coalesce((select max(id) from messages), 0)
    """,
)
FIND_TURNS = (
    "delete from fresh",
    "delete from fresh_turns",
    "insert or ignore into fresh_turns select value ->> 0, value ->> 1 from json_each(:turns)",
    f"""
    insert or ignore into fresh_turns select agent, number from turns t
    where :catch_up and {ms("ended_at")} > coalesce(
        (select max(ts) from stats s where s.key = 'turns' and s.agent = t.agent), 0)
    """,
    f"""
    delete from fresh_turns where exists (
        select 1 from turns t
            join stats s on s.key = 'turns' and s.agent = t.agent and s.ts = {ms("t.ended_at")}
        where t.agent = fresh_turns.agent and t.number = fresh_turns.number)
    """,
)

CONTEXT = "t.last_tokens_in + t.last_tokens_cache_read + t.last_tokens_cache_write"
IDLE = f"""(select max(0, {ms("t.ended_at")} - t.duration_ms - {ms("b.ended_at")})
    from turns b where b.agent = t.agent and b.number = t.number - 1)"""
OF_A_TURN = (
    ("sum", "turns", "'turns'", "1"),
    ("sum", "turns", "'outcome.' || t.outcome", "1"),
    ("spread", "ms", "'turn_ms'", "t.duration_ms"),
    ("spread", "ms", "'idle_ms'", IDLE),
    ("mean", "calls", "'tool_calls'", "t.tool_calls"),
    ("mean", "messages", "'mail_handled'", "t.messages"),
    ("sum", "tokens", "'tokens_in'", "t.tokens_in"),
    ("sum", "tokens", "'tokens_out'", "t.tokens_out"),
    ("sum", "tokens", "'tokens_cache_read'", "t.tokens_cache_read"),
    ("sum", "tokens", "'tokens_cache_write'", "t.tokens_cache_write"),
    ("sum", "USD", "'cost_usd'", "t.cost_usd"),
    ("last", "tokens", "'context_tokens'", CONTEXT),
    ("last", "bytes", "'notes_bytes'", "t.notes_bytes"),
)
# cross join: SQLite knows no better than to go through all turns, and look each up among the few.
TURNS = "insert or replace into fresh " + " union all ".join(
    f"select '{kind}', '{unit}', {key}, t.agent, {ms('t.ended_at')}, {value} from fresh_turns"
    f" cross join turns t using (agent, number) where {value} is not null"
    for kind, unit, key, value in OF_A_TURN
)
TOOLS = f"""
    insert or replace into fresh
    select 'sum', 'calls', 'tool.' || tool.key, t.agent, {ms("t.ended_at")}, tool.value
    from fresh_turns cross join turns t using (agent, number), json_each(t.tools) tool
"""


def mail(word: str, who: str, other: str) -> str:
    """Counted by the second: what a busy hive sends would else be most of all points."""
    kind = f"iif({other} in ('operator', 'manager', 'system'), {other}, 'peer')"
    return f"""
    insert into fresh select 'sum', 'messages', '{word}.' || {kind}, {who}, {second("sent_at")}, count(*)
    from hive.message where id in (select id from fresh_mail) and id not in (select id from messages)
        and {who} not in ('operator', 'system') group by 3, 4, 5
    """


CRASHED = """hive.run where event in ('container_crash', 'quarantined')
    and (:catch_up or invocation in (select value from json_each(:runs)))
    and invocation not in (select invocation from crashes)"""


def crashes(who: str, condition: str = "true") -> str:
    return f"""
    insert into fresh select 'sum', 'crashes', 'crashes', {who}, {ms("ended_at")}, 1
    from {CRASHED} and event = 'container_crash' and {condition} {ADD}
    """


ASKED = "(:catch_up or id in (select value from json_each(:requests)))"
PENDING = "hive.request where state = 'pending'"

NOT_TOO_MANY = f"""
    delete from fresh where key >= 'tool.' and key < 'tool/'
    and agent in (select agent from series group by agent having count(*) > {SERIES_MAX})
    and not exists (select 1 from series s where s.key = fresh.key and s.agent = fresh.agent)
"""

POINTS = (
    mail("sent", "sender", "recipient"),
    mail("received", "recipient", "sender"),
    f"""
    insert into fresh select 'sum', 'messages', 'dead', recipient, {second("done_at")}, count(*)
    from hive.message where id in (select id from fresh_mail) and state = 'dead'
        and id not in (select id from messages where state = 'dead') group by recipient, 5
    """,
    f"""
    insert into fresh select 'sum', 'requests', 'denials', '', {ms("decided_at")}, 1 from hive.request
    where {ASKED} and state = 'denied' and id not in (select id from approvals where state = 'denied') {ADD}
    """,
    """
    insert into fresh
    select 'sum', 'commands', 'commands_denied', value ->> 1, value ->> 2, count(*)
    from json_each(:denied) group by 4, 5
    """,
    crashes("''"),
    crashes("agent", "agent is not null"),
    """
    insert or replace into fresh
    select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5
    from json_each(:points)
    """,
    f"""
    insert or replace into fresh
    select 'last', 'requests', 'approvals_pending', '', :now, (select count(*) from {PENDING})
    where :catch_up or :requests != '[]'
    """,
    f"""
    insert or replace into fresh
    select 'last', 'ms', 'approvals_oldest_ms', '', {ms("decided_at")} - 1,
        {ms("decided_at")} - {ms("requested_at")} from hive.request
    where {ASKED} and decided_at is not null and id in (select id from approvals where decided_at is null)
        and requested_at = (select min(requested_at) from approvals where decided_at is null)
    """,
    f"""
    insert or replace into fresh select 'last', 'ms', 'approvals_oldest_ms', '', :now,
        coalesce((select :now - min({ms("requested_at")}) from {PENDING}), 0)
    where :catch_up or :requests != '[]'
    """,
)

RECORDS = (
    """
    insert into messages(id, sender, recipient, sent_at, bytes, in_reply_to, done_at, state, attempts)
    select id, sender, recipient, sent_at, length(cast(body as blob)), in_reply_to, done_at, state, attempts
    from hive.message where id in (select id from fresh_mail)
    on conflict do update
        set done_at = excluded.done_at, state = excluded.state, attempts = excluded.attempts
    """,
    """
    update messages set first_delivered_at = d.at
    from (select value ->> 0 as id, min(value ->> 2) as at from json_each(:delivered) group by 1) d
    where messages.id = d.id and first_delivered_at is null
    """,
    f"""
    insert or replace into approvals
    select id, kind, agent, requested_by, requested_at, risk, state, decided_by, decided_at, ended_at, deploy
    from hive.request where {ASKED}
    """,
    """
    insert or replace into questions select id, asker, asked, asked_at, expires_at, answered_at, state
    from hive.question where :catch_up or id in (select value from json_each(:questions))
    """,
    """
    insert or replace into commands_denied(id, agent, program, rule, count, first_at, last_at)
    select id, agent, program, kind, count, first_at, last_at from hive.denial
    where id in (select value ->> 0 from json_each(:denied)) or (:catch_up
        and last_at > coalesce((select max(last_at) from commands_denied), ''))
    """,
    """
    insert into wild(agent, kind, since, last_at, count, turn)
    select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5
    from json_each(:wild) where true
    on conflict do update set last_at = excluded.last_at, count = max(count, excluded.count)
    """,
    f"""
    insert into crashes select invocation, coalesce(agent, ''), unit, ended_at, event, detail ->> 'result',
        detail ->> 'exit_status', detail ->> 'signal', detail ->> 'runtime', detail ->> 'restarts',
        detail ->> 'restarted' from {CRASHED}
    """,
    """
    insert or ignore into starts(agent, invocation, at, hello_ms)
    select value ->> 1, value ->> 0, value ->> 2, value ->> 3 from json_each(:starts)
    """,
    # the first mail after the hello
    f"""
    update starts set mail_ms = max(0, {ms("d.at")} - {ms("starts.at")} - coalesce(hello_ms, 0))
    from (select value ->> 1 as agent, min(value ->> 2) as at from json_each(:delivered) group by 1) d
    where starts.agent = d.agent and mail_ms is null
        and starts.at = (select max(at) from starts s where s.agent = d.agent)
    """,
)
FIRST_ANSWERS = """
    with t as materialized (
        select invocation, claude_ms, answer_ms from fresh_turns cross join turns using (agent, number)
    )
    update starts set claude_ms = t.claude_ms, answer_ms = t.answer_ms from t
    where t.invocation = starts.invocation and starts.answer_ms is null
"""

SPREAD_STEP = f"cast(round({PER_DOUBLING} * log2(max(value, 1))) as integer)"


def spread(table: str, length: int) -> str:
    return f"""
    insert into {table}(agent, ts, key, step, count)
    select agent, ts / {length} * {length}, key, {SPREAD_STEP}, count(*)
    from fresh where kind = 'spread' group by 1, 2, 3, 4
    on conflict do update set count = count + excluded.count
    """


WRITE = (
    "insert or ignore into series(kind, unit, key, agent) select kind, unit, key, agent from fresh",
    """
    insert into stats(agent, ts, key, value) select agent, ts, key, value from fresh where true
    on conflict do update set value = iif(
        (select kind from series s where s.key = stats.key and s.agent = stats.agent) = 'sum', value, 0)
        + excluded.value
    """,
    f"""
    insert into stats_hour(agent, ts, key, count, sum, min, max, last)
    select agent, ts / {HOUR} * {HOUR} as hour, key, count(*), sum(value), min(value), max(value),
        (select value from fresh f where f.key = fresh.key and f.agent = fresh.agent
            and f.ts < fresh.ts / {HOUR} * {HOUR} + {HOUR} order by f.ts desc limit 1)
    from fresh group by key, agent, hour
    on conflict do update set count = count + excluded.count, sum = sum + excluded.sum,
        min = min(min, excluded.min), max = max(max, excluded.max), last = excluded.last
    """,
    spread("stats_spread", HOUR),
    spread("stats_spread_6h", SIX_HOURS),
    f"""
    insert into stats_total(agent, key, step, count, sum)
    select agent, key, iif(kind = 'spread', {SPREAD_STEP}, 0), count(*), sum(value)
    from fresh where kind != 'last' group by 1, 2, 3
    on conflict do update set count = count + excluded.count, sum = sum + excluded.sum
    """,
)

NEWS = (
    *FIND_MAIL,
    *ways_sql.FIND,
    *POINTS,
    *ways_sql.POINTS,
    *RECORDS,
    *ways_sql.RECORDS,
    *WRITE,
)
OF_TURNS = (*FIND_TURNS, TURNS, TOOLS, NOT_TOO_MANY, FIRST_ANSWERS, *WRITE)

# What is kept for ever: hours, spreads, approvals, and the newest message, after which mail is new.
OLD = (
    "delete from turns where ended_at < :at",
    "delete from messages where sent_at < :at and id < (select max(id) from messages)",
    "delete from questions where asked_at < :at and state != 'open'",
    "delete from crashes where at < :at",
    "delete from commands_denied where last_at < :at",
    "delete from starts where at < :at",
    "delete from wild where last_at < :at",
    *ways_sql.OLD,
)
OLD_POINTS = "delete from stats where key = ? and agent = ? and ts < ?"
