# Completion of hivectl(1) for bash.

_hivectl_agents() {
    # What hivectl says when the hive is down is no help in the middle of a line.
    hivectl list --json 2>/dev/null | grep -o '"name": *"[a-z0-9-]*"' | cut -d '"' -f 4
}

_hivectl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}
    local words= files=
    COMPREPLY=()

    if [ "$COMP_CWORD" -eq 1 ]; then
        words='status list show top spawn send inbox mail --help'
    elif [ "$verb $prev" = 'mail --state' ]; then
        words='queued leased done dead'
    elif [ "$verb $prev" = 'spawn --toml' ] || [ "$verb $prev" = 'spawn --prompt' ]; then
        files=yes
    elif [[ $prev == --@(description|model|reply-to|key|limit|read) ]]; then
        return
    elif [[ $cur == -* ]]; then
        words='--json --help'
        case $verb in
            spawn) words+=' --toml --prompt --description --model' ;;
            send) words+=' --reply-to --key' ;;
            inbox) words+=' --all --limit --read --mark-read' ;;
            mail) words+=' --limit --state --follow' ;;
        esac
    else
        case $verb in
            show|mail) words=$(_hivectl_agents) ;;
            send) [ "$COMP_CWORD" -eq 2 ] && words="$(_hivectl_agents) operator all" ;;
        esac
    fi

    if [ "$files" ]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    fi
}

complete -F _hivectl hivectl
