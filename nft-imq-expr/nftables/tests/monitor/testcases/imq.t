# SPDX-License-Identifier: GPL-2.0-only
I add table ip t
I add chain ip t c
I add map ip t m { type ipv4_addr : mark; }
O -
J {"add": {"table": {"family": "ip", "name": "t", "handle": 0}}}
J {"add": {"chain": {"family": "ip", "table": "t", "name": "c", "handle": 0}}}
J {"add": {"map": {"family": "ip", "name": "m", "table": "t", "type": "ipv4_addr", "handle": 0, "map": "mark"}}}

I add rule ip t c imq todev 7
O -
J {"add": {"rule": {"family": "ip", "table": "t", "chain": "c", "handle": 0, "expr": [{"imq": {"todev": 7}}]}}}

I add rule ip t c imq todev meta mark & 0x000000ff comment "foo"
O -
J {"add": {"rule": {"family": "ip", "table": "t", "chain": "c", "handle": 0, "comment": "foo", "expr": [{"imq": {"todev": {"&": [{"meta": {"key": "mark"}}, 255]}}}]}}}

I add rule ip t c imq todev ip saddr map @m
O -
J {"add": {"rule": {"family": "ip", "table": "t", "chain": "c", "handle": 0, "expr": [{"imq": {"todev": {"map": {"key": {"payload": {"protocol": "ip", "field": "saddr"}}, "data": "@m"}}}}]}}}

I add rule ip t c imq todev ip saddr map { 10.0.0.1 : 1, 10.0.0.2 : 2 }
O -
J {"add": {"rule": {"family": "ip", "table": "t", "chain": "c", "handle": 0, "expr": [{"imq": {"todev": {"map": {"key": {"payload": {"protocol": "ip", "field": "saddr"}}, "data": {"set": [["10.0.0.1", 1], ["10.0.0.2", 2]]}}}}}]}}}
