"""What every command uses: consoles, errors and exit codes, JSON, tables, figures for people.

Commands print through this package alone. Text from outside (names, messages, bodies of events) may have
anything in it, so whatever is printed passes through `plain`.
"""
