# Completion of rescind for bash: source <(rescind completion bash)
_rescind() {
    local cur=${COMP_WORDS[COMP_CWORD]} line file
    COMPREPLY=()
    [[ $cur == = ]] && cur=
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o filenames 2>/dev/null
            while IFS= read -r file; do
                COMPREPLY+=("$file")
            done < <(compgen -f -- "$cur")
        else
            COMPREPLY+=("${line%%$'\t'*}")
        fi
    done < <("${COMP_WORDS[0]}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _rescind rescind
