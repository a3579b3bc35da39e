"""Everything that knows Dagster: assets, checks, jobs, schedules, sensors, resources. The work itself is done in other rooms."""
