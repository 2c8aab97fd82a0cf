"""`python -m jettythunder_dev`: the commands of `jettythunder stack`."""

from jettythunder_dev.commands import app

app(prog_name="python -m jettythunder_dev")
