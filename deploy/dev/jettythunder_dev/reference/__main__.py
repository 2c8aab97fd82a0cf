"""`python -m jettythunder_dev.reference`: write the documents."""

from jettythunder_dev.layout import REPOSITORY
from jettythunder_dev.reference.documents import write_documents

for path in write_documents():
    print(f"Wrote {path.relative_to(REPOSITORY)}.")
