"""Grafana's dashboards: what each shows, and their files in deploy/observability/grafana, written by
`make dashboards`."""
