"""Who may ask for what: keys, hosts, origins and rates. One policy, one guard in front of every route."""
