"""What one batch writes into stats.db of the ways out of cages: part of sql.py.

Given is :egress, a JSON list of facts that hive-watch has found in the journal, oldest first, each a list
as in FIELDS; and :read_to, the cursor of the last one, which is written with them: none is lost, none
counts twice.
"""

SINGLE_MAX = 100  # rows of an agent in an hour that are one connection each; others of that hour are summed
SUMS_MAX = 100  # by where to, rule and end; when there are more of these, also without where to
FIELDS = ("agent", "at", "host", "port", "address", "rule", "end", "count", "sent", "received", "ms")


def hour(column: str) -> str:
    return f"substr({column}, 1, 13)"


def said() -> str:
    columns = ", ".join(f"value ->> {n} as {name}" for n, name in enumerate(FIELDS))
    return f"select key as n, {columns} from json_each(:egress)"  # noqa: S608


FRESH = f"create temp table fresh_egress(n integer primary key, {', '.join(FIELDS)}, place);"

FIND = (
    "delete from fresh_egress",
    # with the place of each among those of its agent and hour
    f"""
    insert into fresh_egress
    with said as ({said()}), before as (
        select agent, {hour("first_at")} as hour, count(*) as rows from egress
        where (agent, {hour("first_at")}) in (select agent, {hour("at")} from said) and not summed
        group by 1, 2
    )
    select said.*, coalesce(before.rows, 0) + row_number() over (
        partition by said.agent, {hour("at")} order by n)
    from said left join before on before.agent = said.agent and before.hour = {hour("said.at")}
    """,  # noqa: S608
)


def points(key: str, unit: str, value: str, condition: str) -> str:
    second = "(cast(strftime('%s', at) as integer) * 1000)"
    return f"""
    insert into fresh select 'sum', '{unit}', '{key}', agent, {second}, sum({value})
    from fresh_egress where {condition} group by 4, 5
    """  # noqa: S608


POINTS = (
    points("egress", "connections", "count", "end != 'denied'"),
    points("egress_denied", "connections", "count", "end = 'denied'"),
    points("egress_sent_bytes", "bytes", "sent", "end != 'denied'"),
    points("egress_received_bytes", "bytes", "received", "end != 'denied'"),
)

OF_THE_HOUR = f"e.agent = s.agent and {hour('e.first_at')} = s.hour and e.summed"
RECORDS = (
    f"""
    insert into egress(agent, host, port, address, rule, end, summed, count, first_at, last_at,
        bytes_sent, bytes_received, duration_ms)
    select agent, host, port, address, rule, end, 0, count, at, at, sent, received, ms
    from fresh_egress where place <= {SINGLE_MAX} order by n
    """,  # noqa: S608
    f"""
    insert into egress(agent, host, port, address, rule, end, summed, count, first_at, last_at,
        bytes_sent, bytes_received, duration_ms)
    with sums as (
        select agent, {hour("at")} as hour, host, port, rule, end, sum(count) as count, min(at) as first_at,
            max(at) as last_at, sum(sent) as sent, sum(received) as received, sum(ms) as ms,
            row_number() over (partition by agent, {hour("at")} order by min(n)) as place
        from fresh_egress where place > {SINGLE_MAX} group by 1, 2, 3, 4, 5, 6
    ), known as (
        select s.*, exists (select 1 from egress e where {OF_THE_HOUR}
                and (e.host, e.port, e.rule, e.end) = (s.host, s.port, s.rule, s.end))
            or place + (select count(*) from egress e where {OF_THE_HOUR}) <= {SUMS_MAX} as own
        from sums s
    )
    select agent, iif(own, host, ''), iif(own, port, 0), '', iif(own or end = 'denied', rule, ''), end, 1,
        sum(count), min(first_at), max(last_at), sum(sent), sum(received), sum(ms)
    from known group by 1, hour, 2, 3, 5, 6
    on conflict do update set count = count + excluded.count, last_at = max(last_at, excluded.last_at),
        bytes_sent = bytes_sent + excluded.bytes_sent, duration_ms = duration_ms + excluded.duration_ms,
        bytes_received = bytes_received + excluded.bytes_received
    """,  # noqa: S608
    """
    insert into journal_read(id, cursor) select 1, :read_to where :read_to is not null
    on conflict do update set cursor = excluded.cursor
    """,
)
OLD = ("delete from egress where last_at < :at",)
READ_TO = "select cursor from journal_read"
