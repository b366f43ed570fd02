:prerouting;type filter hook prerouting priority -90
:output;type filter hook output priority 90

*ip;test-ip4;prerouting,output

ip saddr 192.168.0.1 tcp dport 80 imq todev 1;ok
imq todev ct mark;ok
imq todev ct mark & 0x000000ff;ok
imq todev ct mark & 0x000000ff | 0x00000100;ok;imq todev ct mark & 0x000001ff | 0x00000100
imq todev (ct mark & 0x00ff0000) >> 16;ok
imq todev rt classid;ok
imq todev socket mark;ok
imq todev socket mark & 0x000000ff;ok
imq todev socket mark map { 0x00000001 : 8, 0x00000002 : 9 };ok
imq todev jhash ip saddr mod 8 offset 1;ok
imq todev jhash ip saddr . tcp dport mod 8 seed 0xdeadbeef;ok
imq todev ip daddr map { 192.168.0.1 : 1, 192.168.0.2 : 2 };ok
imq todev ip daddr map { 192.168.0.0/24 : 1, 192.168.1.0/24 : 2, * : 3 };ok
imq todev ip daddr . tcp dport map { 192.168.0.1 . 80 : 1, 192.168.0.1 . 443 : 2 };ok
imq todev ip saddr . ip daddr map { 10.0.0.0/8 . 192.168.0.1-192.168.0.9 : 1, 172.16.0.0/12 . 192.168.0.10 : 2 };ok
imq todev iifname . ip daddr map { "wan" . 192.168.0.1 : 1, "lan" . 192.168.0.2 : 2 };ok
imq todev ct state map { established : 1, new : 2 };ok
imq todev tcp dport map { 80 : 1, 443-450 : 2, * : 3 };ok
imq todev ip saddr & 255.255.255.0 map { 10.0.0.0 : 1, 10.0.1.0 : 2 };ok
imq todev ip saddr . iifname . tcp dport map { 10.0.0.0/8 . "lan" . 1-1023 : 1 };ok
imq todev ct mark & 0x000000ff map { 0x00000001 : 8, 0x00000002 : 9 };ok
imq todev jhash ip saddr mod 16 map { 0-7 : 1, 8-15 : 2 };ok

imq todev ip saddr;fail
imq todev ip ttl;fail
imq todev ip daddr . tcp dport;fail
imq todev ct id;fail
imq todev ct zone;fail
imq todev ct bytes;fail
imq todev ct state;fail
imq todev tcp dport;fail
imq todev ip daddr map { 192.168.0.1 : accept };fail
