"""`python -m jettythunder_dev.dashboards`: write the dashboards' files."""

from jettythunder_dev.dashboards.files import current_files
from jettythunder_dev.layout import REPOSITORY

for path, text in current_files():
    path.write_text(text)
    print(f"Wrote {path.relative_to(REPOSITORY)}.")
