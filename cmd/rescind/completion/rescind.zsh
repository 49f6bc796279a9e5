#compdef rescind
# Completion of rescind for zsh: source <(rescind completion zsh), after compinit.
_rescind() {
    local line word files=
    local -a found
    for line in "${(@f)$(command ${words[1]} __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == :files ]]; then
            files=1
        elif [[ -n $line ]]; then
            word=${line%%$'\t'*}
            found+=("${word//:/\\:}:${line#*$'\t'}")
        fi
    done
    (( $#found )) && _describe rescind found
    if [[ -n $files ]]; then
        compset -P '*='
        _files
    fi
}
if [[ ${funcstack[1]} == _rescind ]]; then
    _rescind "$@"
else
    compdef _rescind rescind
fi
