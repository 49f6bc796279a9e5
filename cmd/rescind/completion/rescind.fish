# Completion of rescind for fish: rescind completion fish | source
function __rescind_complete
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    for line in (command $words[1] __complete -- $words[2..-1] "$last" 2>/dev/null)
        if test "$line" = :files
            set -l flag (string match -r '^--?[^=]*=' -- "$last")
            for file in (__fish_complete_path (string replace -r '^--?[^=]*=' '' -- "$last"))
                echo -- "$flag$file"
            end
        else
            echo -- $line
        end
    end
end
complete -c rescind -f -a '(__rescind_complete)'
