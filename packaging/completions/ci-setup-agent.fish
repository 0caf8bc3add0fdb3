# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_ci_setup_agent_global_optspecs
    string join \n h/help V/version
end

function __fish_ci_setup_agent_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_ci_setup_agent_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_ci_setup_agent_using_subcommand
    set -l cmd (__fish_ci_setup_agent_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c ci-setup-agent -n "__fish_ci_setup_agent_needs_command" -s h -l help -d 'Print help'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_needs_command" -s V -l version -d 'Print version'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_needs_command" -f -a "run" -d 'Run what is due: the creation script once, the startup script once a boot'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_needs_command" -f -a "try" -d 'Rehearse a script on this computer, without root and without an instance'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_needs_command" -f -a "check" -d 'Say what is wrong with requests, resources and scripts, before anything runs'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_needs_command" -f -a "status" -d 'Tell what ran, what is running, and how it ended'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_needs_command" -f -a "logs" -d 'Print the output of a run'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_needs_command" -f -a "sync" -d 'Bring the copies on the share up to date'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_needs_command" -f -a "schema" -d 'Print the JSON Schema of what this program reads or writes'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l resource-group -d 'Resource group of the instance' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l workspace -d 'Workspace of the instance' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l name -d 'Name of the instance' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l user -d 'The instance\'s ordinary user [default: azureuser]' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l share -d 'The notebook file share [default: where the service mounts it]' -r -F
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l state -d 'The state directory [default: /var/lib/ci-setup-agent]' -r -F
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l grace -d 'Time between SIGTERM and SIGKILL [default: 10s]' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l flush-wait -d 'How long to wait for the copy on the share at the end [default: 30s]' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l leftovers -d 'What becomes of processes that the script leaves running [default: keep]' -r -f -a "keep\t'They live on, and what they write is recorded'
kill\t'They are ended as at a timeout, but with at most 0.3 s of grace'"
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l output-limit -d 'The most bytes kept of the output, such as 512M; 0 keeps all [default: 1GiB]' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l steps -d 'How the script\'s commands are recorded [default: auto]' -r -f -a "auto\t'From outside, where that is possible; else, in a rehearsal, by a hook inside bash'
hook\t'By a hook inside bash, which knows less, and which a script that looks for it finds'
off\t'Not at all'"
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l share-wait -d 'How long to look for the script on a share that is late [default: 120s]' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l only -d 'Run only this script' -r -f -a "creation\t'The creation script'
startup\t'The startup script, whether or not creation has succeeded'"
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l inside -d 'The mark in the environment of a script that `run` executes' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l json -d 'Print the outcome as JSON instead of the script\'s output'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -s q -l quiet -d 'Do not print the script\'s output'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l rerun -d 'Run what has already run once more'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -l best-effort -d 'Exit with 0 however the scripts ended'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand try" -l resource-group -d 'Resource group of the instance' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand try" -l workspace -d 'Workspace of the instance' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand try" -l name -d 'Name of the instance' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand try" -l user -d 'The instance\'s ordinary user [default: azureuser]' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand try" -l grace -d 'Time between SIGTERM and SIGKILL [default: 10s]' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand try" -l flush-wait -d 'How long to wait for the copy on the share at the end [default: 30s]' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand try" -l leftovers -d 'What becomes of processes that the script leaves running [default: keep]' -r -f -a "keep\t'They live on, and what they write is recorded'
kill\t'They are ended as at a timeout, but with at most 0.3 s of grace'"
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand try" -l output-limit -d 'The most bytes kept of the output, such as 512M; 0 keeps all [default: 1GiB]' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand try" -l steps -d 'How the script\'s commands are recorded [default: auto]' -r -f -a "auto\t'From outside, where that is possible; else, in a rehearsal, by a hook inside bash'
hook\t'By a hook inside bash, which knows less, and which a script that looks for it finds'
off\t'Not at all'"
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand try" -l timeout -d 'The script\'s time limit, as a request would have it [default: 15m]' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand try" -l json -d 'Print the outcome as JSON instead of the script\'s output'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand try" -s q -l quiet -d 'Do not print the script\'s output'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand try" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand check" -l format -d 'How findings are printed' -r -f -a "text\t'`file:line:column: error: text [rule]`, then `hint: …`'
json\t'One JSON document'
github\t'Annotations of a GitHub workflow'"
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand check" -l json -d 'Print JSON'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand check" -l explain -d 'Tell the next five times of each schedule'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand check" -l shellcheck -d 'Tell what shellcheck finds as well'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand status" -l timeout -d 'Wait at most this long' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand status" -l name -d 'Name of the instance, to find its logs on the share' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand status" -l share -d 'The notebook file share [default: where the service mounts it]' -r -F
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand status" -l state -d 'The state directory [default: /var/lib/ci-setup-agent]' -r -F
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand status" -l wait -d 'Wait until it has ended; without a run, until nothing runs'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand status" -l json -d 'Print JSON'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand status" -s h -l help -d 'Print help'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand logs" -l since -d 'Only what came since then: a DURATION ago, or a time such as 2026-11-21T20:59:57Z' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand logs" -s n -l lines -d 'Only the last N lines' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand logs" -l name -d 'Name of the instance, to find its logs on the share' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand logs" -l share -d 'The notebook file share [default: where the service mounts it]' -r -F
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand logs" -l state -d 'The state directory [default: /var/lib/ci-setup-agent]' -r -F
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand logs" -s f -l follow -d 'Go on printing until the run has ended'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand logs" -s t -l timestamps -d 'Print before each line when it came (RFC 3339, UTC)'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand logs" -l failed -d 'Only what the commands printed that failed'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand logs" -l json -d 'Print JSON, one object for each line'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand logs" -s h -l help -d 'Print help'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand sync" -l resource-group -d 'Resource group of the instance' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand sync" -l workspace -d 'Workspace of the instance' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand sync" -l name -d 'Name of the instance' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand sync" -l user -d 'The instance\'s ordinary user [default: azureuser]' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand sync" -l share -d 'The notebook file share [default: where the service mounts it]' -r -F
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand sync" -l state -d 'The state directory [default: /var/lib/ci-setup-agent]' -r -F
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand sync" -l flush-wait -d 'How long to wait for a share that makes no progress [default: 30s]' -r
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand sync" -l json -d 'Print JSON'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand sync" -s h -l help -d 'Print help'
complete -c ci-setup-agent -n "__fish_ci_setup_agent_using_subcommand schema" -s h -l help -d 'Print help (see more with \'--help\')'
