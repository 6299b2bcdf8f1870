# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_fieldway_global_optspecs
    string join \n log-format= log-level= h/help V/version
end

function __fish_fieldway_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_fieldway_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_fieldway_using_subcommand
    set -l cmd (__fish_fieldway_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c fieldway -n "__fish_fieldway_needs_command" -l log-format -d 'How log lines look' -r -f -a "human\t'For people: the journal under systemd, else time of day (UTC), level, text and fields, in colour on a terminal'
json\t'One JSON object a line'"
complete -c fieldway -n "__fish_fieldway_needs_command" -l log-level -d 'What is logged: error, warn, info, debug or trace, or a filter such as `fieldway::uplink=debug` [default: info, demo: error]' -r
complete -c fieldway -n "__fish_fieldway_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldway -n "__fish_fieldway_needs_command" -s V -l version -d 'Print version'
complete -c fieldway -n "__fish_fieldway_needs_command" -f -a "run" -d 'Run the gateway until it is stopped'
complete -c fieldway -n "__fish_fieldway_needs_command" -f -a "check" -d 'Check a configuration and print everything that is wrong with it'
complete -c fieldway -n "__fish_fieldway_needs_command" -f -a "plan" -d 'Show each request of each bus, and how much of the line\'s time it takes'
complete -c fieldway -n "__fish_fieldway_needs_command" -f -a "read" -d 'Read points of one device once, and show them'
complete -c fieldway -n "__fish_fieldway_needs_command" -f -a "scan" -d 'Ask every unit id of a bus who is there'
complete -c fieldway -n "__fish_fieldway_needs_command" -f -a "status" -d 'Show how the running gateway is doing'
complete -c fieldway -n "__fish_fieldway_needs_command" -f -a "templates" -d 'List the devices that there are templates for, or show a template'
complete -c fieldway -n "__fish_fieldway_needs_command" -f -a "write" -d 'Set a point of a running gateway and wait for the result'
complete -c fieldway -n "__fish_fieldway_needs_command" -f -a "passwd" -d 'Make the hash of a password for a user of the broker'
complete -c fieldway -n "__fish_fieldway_needs_command" -f -a "demo" -d 'Show the whole gateway at work on simulated devices; needs no hardware and no root'
complete -c fieldway -n "__fish_fieldway_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fieldway -n "__fish_fieldway_using_subcommand run" -l config -d 'The configuration' -r -F
complete -c fieldway -n "__fish_fieldway_using_subcommand run" -l log-format -d 'How log lines look' -r -f -a "human\t'For people: the journal under systemd, else time of day (UTC), level, text and fields, in colour on a terminal'
json\t'One JSON object a line'"
complete -c fieldway -n "__fish_fieldway_using_subcommand run" -l log-level -d 'What is logged: error, warn, info, debug or trace, or a filter such as `fieldway::uplink=debug` [default: info, demo: error]' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand run" -l checked -d '`fieldway check` has just shown what is wrong with the configuration: don\'t show it again. For service files'
complete -c fieldway -n "__fish_fieldway_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldway -n "__fish_fieldway_using_subcommand check" -l config -d 'The same, as other commands have it' -r -F
complete -c fieldway -n "__fish_fieldway_using_subcommand check" -l log-format -d 'How log lines look' -r -f -a "human\t'For people: the journal under systemd, else time of day (UTC), level, text and fields, in colour on a terminal'
json\t'One JSON object a line'"
complete -c fieldway -n "__fish_fieldway_using_subcommand check" -l log-level -d 'What is logged: error, warn, info, debug or trace, or a filter such as `fieldway::uplink=debug` [default: info, demo: error]' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand check" -l json -d 'Print the result to standard output as JSON'
complete -c fieldway -n "__fish_fieldway_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldway -n "__fish_fieldway_using_subcommand plan" -l config -d 'The configuration' -r -F
complete -c fieldway -n "__fish_fieldway_using_subcommand plan" -l log-format -d 'How log lines look' -r -f -a "human\t'For people: the journal under systemd, else time of day (UTC), level, text and fields, in colour on a terminal'
json\t'One JSON object a line'"
complete -c fieldway -n "__fish_fieldway_using_subcommand plan" -l log-level -d 'What is logged: error, warn, info, debug or trace, or a filter such as `fieldway::uplink=debug` [default: info, demo: error]' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand plan" -l json -d 'Print the plan to standard output as JSON'
complete -c fieldway -n "__fish_fieldway_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldway -n "__fish_fieldway_using_subcommand read" -l config -d 'The configuration' -r -F
complete -c fieldway -n "__fish_fieldway_using_subcommand read" -l log-format -d 'How log lines look' -r -f -a "human\t'For people: the journal under systemd, else time of day (UTC), level, text and fields, in colour on a terminal'
json\t'One JSON object a line'"
complete -c fieldway -n "__fish_fieldway_using_subcommand read" -l log-level -d 'What is logged: error, warn, info, debug or trace, or a filter such as `fieldway::uplink=debug` [default: info, demo: error]' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand read" -l json -d 'Print the readings to standard output as JSON, as they would be published'
complete -c fieldway -n "__fish_fieldway_using_subcommand read" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldway -n "__fish_fieldway_using_subcommand scan" -l config -d 'The configuration' -r -F
complete -c fieldway -n "__fish_fieldway_using_subcommand scan" -l units -d 'Which unit ids, for example `1-32` or `1,3,100-110`' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand scan" -l timeout -d 'How long an answer may take, in milliseconds' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand scan" -l log-format -d 'How log lines look' -r -f -a "human\t'For people: the journal under systemd, else time of day (UTC), level, text and fields, in colour on a terminal'
json\t'One JSON object a line'"
complete -c fieldway -n "__fish_fieldway_using_subcommand scan" -l log-level -d 'What is logged: error, warn, info, debug or trace, or a filter such as `fieldway::uplink=debug` [default: info, demo: error]' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand scan" -l json -d 'Print what was found to standard output as JSON'
complete -c fieldway -n "__fish_fieldway_using_subcommand scan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldway -n "__fish_fieldway_using_subcommand status" -l config -d 'The configuration' -r -F
complete -c fieldway -n "__fish_fieldway_using_subcommand status" -l log-format -d 'How log lines look' -r -f -a "human\t'For people: the journal under systemd, else time of day (UTC), level, text and fields, in colour on a terminal'
json\t'One JSON object a line'"
complete -c fieldway -n "__fish_fieldway_using_subcommand status" -l log-level -d 'What is logged: error, warn, info, debug or trace, or a filter such as `fieldway::uplink=debug` [default: info, demo: error]' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand status" -l json -d 'Print everything to standard output as JSON'
complete -c fieldway -n "__fish_fieldway_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldway -n "__fish_fieldway_using_subcommand templates" -l log-format -d 'How log lines look' -r -f -a "human\t'For people: the journal under systemd, else time of day (UTC), level, text and fields, in colour on a terminal'
json\t'One JSON object a line'"
complete -c fieldway -n "__fish_fieldway_using_subcommand templates" -l log-level -d 'What is logged: error, warn, info, debug or trace, or a filter such as `fieldway::uplink=debug` [default: info, demo: error]' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand templates" -l json -d 'Print the names as JSON'
complete -c fieldway -n "__fish_fieldway_using_subcommand templates" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldway -n "__fish_fieldway_using_subcommand write" -l config -d 'The configuration of the running gateway' -r -F
complete -c fieldway -n "__fish_fieldway_using_subcommand write" -l username -d 'Log in to the broker as this user' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand write" -l password-file -d 'The file that holds the user\'s password' -r -F
complete -c fieldway -n "__fish_fieldway_using_subcommand write" -l timeout -d 'How long to wait for the result, in seconds' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand write" -l log-format -d 'How log lines look' -r -f -a "human\t'For people: the journal under systemd, else time of day (UTC), level, text and fields, in colour on a terminal'
json\t'One JSON object a line'"
complete -c fieldway -n "__fish_fieldway_using_subcommand write" -l log-level -d 'What is logged: error, warn, info, debug or trace, or a filter such as `fieldway::uplink=debug` [default: info, demo: error]' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand write" -l json -d 'Print the result to standard output as JSON'
complete -c fieldway -n "__fish_fieldway_using_subcommand write" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldway -n "__fish_fieldway_using_subcommand passwd" -l name -d 'Print a whole entry of `broker.users` for a user of this name' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand passwd" -l log-format -d 'How log lines look' -r -f -a "human\t'For people: the journal under systemd, else time of day (UTC), level, text and fields, in colour on a terminal'
json\t'One JSON object a line'"
complete -c fieldway -n "__fish_fieldway_using_subcommand passwd" -l log-level -d 'What is logged: error, warn, info, debug or trace, or a filter such as `fieldway::uplink=debug` [default: info, demo: error]' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand passwd" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldway -n "__fish_fieldway_using_subcommand demo" -l seconds -d 'Stop after so many seconds; without it, at Ctrl-C' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand demo" -l log-format -d 'How log lines look' -r -f -a "human\t'For people: the journal under systemd, else time of day (UTC), level, text and fields, in colour on a terminal'
json\t'One JSON object a line'"
complete -c fieldway -n "__fish_fieldway_using_subcommand demo" -l log-level -d 'What is logged: error, warn, info, debug or trace, or a filter such as `fieldway::uplink=debug` [default: info, demo: error]' -r
complete -c fieldway -n "__fish_fieldway_using_subcommand demo" -l fast -d 'Tell the story in a quarter of a minute'
complete -c fieldway -n "__fish_fieldway_using_subcommand demo" -l plain -d 'No colours'
complete -c fieldway -n "__fish_fieldway_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldway -n "__fish_fieldway_using_subcommand help; and not __fish_seen_subcommand_from run check plan read scan status templates write passwd demo help" -f -a "run" -d 'Run the gateway until it is stopped'
complete -c fieldway -n "__fish_fieldway_using_subcommand help; and not __fish_seen_subcommand_from run check plan read scan status templates write passwd demo help" -f -a "check" -d 'Check a configuration and print everything that is wrong with it'
complete -c fieldway -n "__fish_fieldway_using_subcommand help; and not __fish_seen_subcommand_from run check plan read scan status templates write passwd demo help" -f -a "plan" -d 'Show each request of each bus, and how much of the line\'s time it takes'
complete -c fieldway -n "__fish_fieldway_using_subcommand help; and not __fish_seen_subcommand_from run check plan read scan status templates write passwd demo help" -f -a "read" -d 'Read points of one device once, and show them'
complete -c fieldway -n "__fish_fieldway_using_subcommand help; and not __fish_seen_subcommand_from run check plan read scan status templates write passwd demo help" -f -a "scan" -d 'Ask every unit id of a bus who is there'
complete -c fieldway -n "__fish_fieldway_using_subcommand help; and not __fish_seen_subcommand_from run check plan read scan status templates write passwd demo help" -f -a "status" -d 'Show how the running gateway is doing'
complete -c fieldway -n "__fish_fieldway_using_subcommand help; and not __fish_seen_subcommand_from run check plan read scan status templates write passwd demo help" -f -a "templates" -d 'List the devices that there are templates for, or show a template'
complete -c fieldway -n "__fish_fieldway_using_subcommand help; and not __fish_seen_subcommand_from run check plan read scan status templates write passwd demo help" -f -a "write" -d 'Set a point of a running gateway and wait for the result'
complete -c fieldway -n "__fish_fieldway_using_subcommand help; and not __fish_seen_subcommand_from run check plan read scan status templates write passwd demo help" -f -a "passwd" -d 'Make the hash of a password for a user of the broker'
complete -c fieldway -n "__fish_fieldway_using_subcommand help; and not __fish_seen_subcommand_from run check plan read scan status templates write passwd demo help" -f -a "demo" -d 'Show the whole gateway at work on simulated devices; needs no hardware and no root'
complete -c fieldway -n "__fish_fieldway_using_subcommand help; and not __fish_seen_subcommand_from run check plan read scan status templates write passwd demo help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
