"""The tables of hive.db, as they grew: a database of any earlier release is brought up to date."""

from sqlite_utils import Database, Migrations

from hyperhive.store import audit

migrations = Migrations("hive")


@migrations()
def first(db: Database) -> None:
    db.executescript("""
        create table agent(
            name text primary key, role text not null, uid_base integer not null unique, model text,
            description text not null, created_at text not null, destroyed_at text,
            status text not null default '', status_at text,
            turns integer not null default 0, last_turn_at text, last_outcome text
        ) strict;
        create table message(
            id integer primary key autoincrement, sender text not null, recipient text not null,
            body text not null, sent_at text not null, key text, in_reply_to integer,
            state text not null default 'queued', attempts integer not null default 0,
            invocation text, done_at text, reason text
        ) strict;
        create index message_queued on message(recipient, id) where state = 'queued';
        create index message_leased on message(recipient, id) where state = 'leased';
        create unique index message_key on message(sender, key, recipient) where key is not null;
        create index message_dead on message(id) where state = 'dead';
        create index message_recipient on message(recipient, id);
        create index message_sender on message(sender, id);
        create table request(
            id integer primary key autoincrement, op text not null, agent text not null, toml text not null,
            prompt text, state text not null default 'queued', at text not null, message text
        ) strict;
    """)


@migrations()
def loose_ends(db: Database) -> None:
    db.executescript("""
        create table question(
            id integer primary key autoincrement, asker text not null, asked text not null,
            question text not null, options text not null, multi integer not null,
            asked_at text not null, expires_at text,
            state text not null default 'open', answer text, answered_by text, answered_at text
        ) strict;
        create index question_open on question(expires_at) where state = 'open';
        create table reminder(
            id integer primary key autoincrement, agent text not null, message text not null,
            due_at text not null, created_at text not null, state text not null default 'armed'
        ) strict;
        create index reminder_armed on reminder(due_at) where state = 'armed';
        alter table message add column settled integer not null default 0;
        create index message_ended on message(done_at) where state in ('done', 'dropped');
        create index message_answer on message(in_reply_to) where in_reply_to is not null;
    """)


@migrations()
def seen(db: Database) -> None:
    db.executescript("""
        alter table message add column seen integer not null default 0;
        update message set seen = 1 where attempts > 1 or (attempts = 1 and state = 'queued');
    """)


@migrations()
def lean(db: Database) -> None:
    """A send writes three pages, not five. Without autoincrement it is prune() that keeps ids unique."""
    db.executescript("""
        create table lean(
            id integer primary key, sender text not null, recipient text not null,
            body text not null, sent_at text not null, key text, in_reply_to integer,
            state text not null default 'queued', attempts integer not null default 0,
            invocation text, done_at text, reason text,
            settled integer not null default 0, seen integer not null default 0
        ) strict;
        insert into lean select id, sender, recipient, body, sent_at, key, in_reply_to, state, attempts,
            invocation, done_at, reason, settled, seen from message;
        drop table message;
        alter table lean rename to message;
        create index message_queued on message(recipient, id) where state = 'queued';
        create index message_leased on message(recipient, id) where state = 'leased';
        create index message_recipient on message(recipient, id) where state not in ('queued', 'leased');
        create index message_sender on message(sender, id);
        create unique index message_key on message(sender, key, recipient) where key is not null;
        create index message_dead on message(id) where state = 'dead';
        create index message_dropped on message(id) where state = 'dropped';
        create index message_ended on message(done_at) where state in ('done', 'dropped');
    """)


@migrations()
def replies(db: Database) -> None:
    db.executescript("""
        create table reply(
            id integer primary key, who text not null, key text not null, digest blob not null,
            answer text not null, at text not null
        ) strict;
        create unique index reply_key on reply(who, key);
    """)


@migrations()
def runs(db: Database) -> None:
    db.executescript("""
        create table run(
            invocation text primary key, unit text not null, agent text, began_at text not null,
            ended_at text, event text, detail text
        ) strict;
        create index run_open on run(unit) where ended_at is null;
        create index run_unit on run(unit);
        create index run_ended on run(ended_at);
        create index run_began on run(began_at);
        create table run_mail(
            invocation text not null, message integer not null, primary key (invocation, message)
        ) strict, without rowid;
    """)


@migrations()
def send_to(db: Database) -> None:
    db.execute("""alter table agent add column send_to text not null default '["all"]'""")


@migrations()
def unanswered(db: Database) -> None:
    """`settled` is now said of answered mail, too: each look at loose ends searched for the answers."""
    db.executescript("""
        update message set settled = 1 from (
            select sender, recipient, max(id) as last from message where in_reply_to is null group by 1, 2
        ) as wrote
        where wrote.sender = message.recipient and wrote.recipient = message.sender
            and message.id < wrote.last and message.in_reply_to is null and message.settled = 0;
        update message set settled = 1 from message as reply
        where reply.in_reply_to = message.id and reply.sender = message.recipient and reply.id > message.id;
        create index message_owed on message(recipient, sender) where state = 'done' and settled = 0
            and in_reply_to is null and sender <> 'system' and sender <> recipient;
        create index message_unanswered on message(id) where state = 'done' and settled = 0
            and in_reply_to is null and sender <> 'system' and sender <> recipient;
    """)


@migrations()
def approvals(db: Database) -> None:
    db.executescript(audit.SCHEMA)
    db.executescript("""
        alter table request rename to old_request;
        create table request(
            id integer primary key autoincrement, kind text not null, agent text not null, "commit" text,
            note text, description text,
            requested_by text not null, requested_at text not null, expires_at text,
            state text not null, decided_by text, decided_at text, reason text,
            deploy integer, risk text, message text, ended_at text,
            tagged text not null default '', summary text not null default '[]', files text
        ) strict;
        insert into request(
            id, kind, agent, requested_by, requested_at, state, decided_by, decided_at, message, files)
            select id, op, agent, 'operator', at, iif(state = 'queued', 'approved', state), 'operator', at,
                   message, json_patch(json_object('agent.toml', json_object('text', toml)),
                iif(prompt is null, '{}', json_object('prompt.md', json_object('text', prompt))))
            from old_request;
        drop table old_request;
        update request set deploy = (select count(*) from request r
            where r.agent = request.agent and r.id <= request.id) where state in ('approved', 'deployed');
        create index request_agent on request(agent, id);
        create index request_kind on request(kind, state, id);
        create index request_state on request(state, id);
        create index request_pending on request(expires_at) where state = 'pending';
        create index request_untagged on request(id) where "commit" is not null and tagged != state;
        alter table agent add column kept text;
    """)
    found = [*db.conn.execute("select id, agent, state, kind, requested_at from request order by id")]
    for number, agent, state, kind, at in found:
        row = {"id": number, "agent": agent, "commit": None}
        detail = {"kind": kind, "note": "from before the audit log"}
        audit.append(db.conn, at, "system", state, row, detail)


@migrations()
def sessions(db: Database) -> None:
    db.executescript("""
        create table sign_in_code(
            digest blob primary key, expires_at text not null
        ) strict, without rowid;
        create table session(
            id integer primary key autoincrement, digest blob not null unique, agent text not null,
            created_at text not null, seen_at text not null, expires_at text not null
        ) strict;
    """)


@migrations()
def commands(db: Database) -> None:
    db.executescript("""
        create table model_override(
            agent text primary key, model text not null, set_by text not null, set_at text not null,
            until text, before text
        ) strict;
        create index model_override_until on model_override(until) where until is not null;
        create table model_state(
            agent text primary key, used text, asked text, refused text, refused_at text, error text
        ) strict;
        create table command(
            id integer primary key autoincrement, agent text not null, command text not null,
            asked_by text not null, asked_at text not null, turn integer, invocation text,
            state text not null default 'queued', ended_at text, error text
        ) strict;
        create index command_open on command(agent) where state in ('queued', 'given');
        create index command_ended on command(ended_at) where ended_at is not null;
    """)


@migrations()
def back_to(db: Database) -> None:
    """The deploy that a rollback or a revival has repeated."""
    db.execute("alter table request add column back_to integer")


@migrations()
def notes(db: Database) -> None:
    db.executescript("""
        create table notes(
            agent text primary key, text text not null, bytes integer not null, at text not null
        ) strict;
    """)


@migrations()
def scopes(db: Database) -> None:
    """What a session may do: all that the page does, or only read the metrics."""
    db.execute("alter table session add column scope text not null default 'page'")


@migrations()
def denials(db: Database) -> None:
    db.executescript("""
        create table denial(
            id integer primary key autoincrement, agent text not null, digest blob not null,
            tool text not null, command text not null, part text not null, rule text not null,
            nearest text not null, count integer not null default 1,
            first_at text not null, last_at text not null,
            dismissed integer not null default 0, request integer
        ) strict;
        create unique index denial_same on denial(agent, digest);
        create index denial_last on denial(agent, last_at);
        create index denial_age on denial(last_at);
        create index denial_request on denial(request) where request is not null;
    """)


@migrations()
def denials_for_analysts(db: Database) -> None:
    db.executescript("""
        alter table denial add column program text not null default '';
        alter table denial add column kind text not null default 'other';
    """)


@migrations()
def reported(db: Database) -> None:
    """Records of turns, until they are in stats.db: whoever reports one hears that it is on disk."""
    db.execute("create table reported(id integer primary key autoincrement, record text not null) strict")
