"""Tools that inspect, measure and compare masks."""
