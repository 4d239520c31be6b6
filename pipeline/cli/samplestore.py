"""The part of ``phusa samples`` that writes accepted sites into a national database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline import soilrecords
from pipeline.cli.db import told
from pipeline.cli.shell import Result
from pipeline.config import Config, SampleFile
from pipeline.sites import Site
from pipeline.stores import PostgisSettings

if TYPE_CHECKING:
    import psycopg

#: Reasons that are told one by one; all are counted.
_MOST_TOLD = 20
Keep = Callable[[Sequence[Site], Sequence[SampleFile]], Result]


def keeper(config: Config, table_only: bool) -> Keep:
    """Writes sites and tells what became of them; does nothing where the config's store is no database.

    Whether the person may write is known now, before any image is read. Raises InputError.
    """
    if table_only or not isinstance(config.store, PostgisSettings):
        return lambda sites, files: {}
    with _connected():
        pass

    def keep(sites: Sequence[Site], files: Sequence[SampleFile]) -> Result:
        with _connected() as connection:
            from pipeline.stores import samples

            rows, left = soilrecords.records(sites, files, config, samples.known(connection))
            written = samples.write(connection, rows) if len(rows) else 0
        reasons = [vars(x) for x in left[:_MOST_TOLD]]
        return {"database": {"results": written, "left_out": len(left), "reasons": reasons}}

    return keep


@contextmanager
def _connected() -> Iterator[psycopg.Connection]:
    with told() as dsn:
        from pipeline.stores import samples

        connection = samples.connect(dsn)
        try:
            yield connection
        finally:
            connection.close()
