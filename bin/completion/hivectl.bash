# Completion of hivectl(1) for bash.

_hivectl_agents() {
    # What hivectl says when the hive is down is no help in the middle of a line.
    hivectl list --json 2>/dev/null | grep -o '"name": *"[a-z0-9-]*"' | cut -d '"' -f 4
}

_hivectl_field() {
    hivectl "$1" --json 2>/dev/null | grep -o "\"$2\": *\"\?[a-z0-9-]*" | grep -o '[a-z0-9-]*$'
}

_hivectl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}
    local words= files=
    COMPREPLY=()

    if [ "$COMP_CWORD" -eq 1 ]; then
        words='status list show top stats spawn draft drafts approvals diff approve deny rollback denials egress allow history destroy kept revive purge doctor send inbox mail ask questions answer remind loose-ends dead model cancel compact new-session backup restore url sessions --help'
    elif [ "$verb $prev" = 'mail --state' ]; then
        words='queued leased done dead dropped'
    elif [ "$verb $prev" = 'mail --from' ] || [ "$verb $prev" = 'mail --to' ]; then
        words="$(_hivectl_agents) operator system"
    elif [ "$verb $prev" = 'loose-ends --cancel' ]; then
        words='question reminder mail'
    elif [ "$verb $prev" = 'dead --retry' ] || [ "$verb $prev" = 'dead --drop' ]; then
        words='all'
    elif [ "$verb $prev" = 'approvals --state' ]; then
        words='pending approved applying deployed denied failed expired withdrawn superseded'
    elif [ "$verb $prev" = 'diff --against' ]; then
        words='deployed approved previous'
    elif [ "$verb $prev" = 'spawn --toml' ] || [ "$verb $prev" = 'spawn --prompt' ]; then
        files=yes
    elif [[ $prev == --@(description|model|note|host|denial|dismiss|reply-to|key|limit|read|option|ttl|in|at|since|revoke|until|text|before) ]]; then
        return
    elif [[ $cur == -* ]]; then
        words='--json --help'
        case $verb in
            stats) words+=' --since' ;;
            spawn) words+=' --toml --prompt --description --model' ;;
            draft) words+=' --description' ;;
            approvals) words+=' --state --all --limit' ;;
            diff) words+=' --against' ;;
            approve) words+=' --note' ;;
            denials) words+=' --all --dismiss' ;;
            allow) words+=' --host --denial --note' ;;
            history) words+=' --limit' ;;
            send) words+=' --reply-to --key' ;;
            inbox) words+=' --all --limit --read --mark-read' ;;
            mail) words+=' --limit --before --state --from --to --text --follow' ;;
            ask) words+=' --option --multi --ttl' ;;
            answer) words+=' --other' ;;
            remind) words+=' --in --at' ;;
            loose-ends) words+=' --cancel' ;;
            dead) words+=' --retry --drop' ;;
            model) words+=' --until --reset' ;;
            url) words+=' --metrics' ;;
            sessions) words+=' --revoke --revoke-all' ;;
        esac
    else
        case $verb in
            show|stats|mail|loose-ends|approvals|rollback|denials|egress|history|destroy|cancel|compact|new-session) words=$(_hivectl_agents) ;;
            diff|approve|deny) [ "$COMP_CWORD" -eq 2 ] && words=$(_hivectl_field approvals id) ;;
            revive) words=$(_hivectl_field kept name) ;;
            purge) words="$(_hivectl_field kept name) $(_hivectl_field drafts agent)" ;;
            ask|remind|model|allow) [ "$COMP_CWORD" -eq 2 ] && words=$(_hivectl_agents) ;;
            send) [ "$COMP_CWORD" -eq 2 ] && words="$(_hivectl_agents) operator all" ;;
        esac
    fi

    if [[ $verb == @(backup|restore) && $COMP_CWORD -gt 1 && $cur != -* ]]; then
        files=yes
    fi
    if [ "$files" ]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    fi
}

complete -F _hivectl hivectl
