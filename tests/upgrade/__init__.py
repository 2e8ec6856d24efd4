"""Databases as earlier commits left them, migrated to the present.

`tests/fixtures/upgrade/<number>.sql.gz` are dumps of a database with rows in every table, each made by `python -m tests.upgrade.record`
when the migrations before it were done. A commit that adds a migration is tested by the dumps there are; record the next one after it.
A dump is never made anew: what it holds is what somebody's database holds. Before the first release alone, where 0001_initial itself is
still edited, `--again` replaces the newest.
"""
