"""DNS messages, records and flows, with the record types of `twisted.names`."""
