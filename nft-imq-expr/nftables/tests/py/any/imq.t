:output;type filter hook output priority 0
:ingress;type filter hook ingress device lo priority 0
:egress;type filter hook egress device lo priority 0

*ip;test-ip4;output
*ip6;test-ip6;output
*inet;test-inet;output
*bridge;test-bridge;output
*netdev;test-netdev;ingress,egress

imq todev 0;ok
imq todev 7;ok
imq todev 65535;ok
imq todev 0x10;ok;imq todev 16
imq todev 1 << 3;ok;imq todev 8
imq todev 0x10000 >> 8;ok;imq todev 256
meta mark 0x00000001 imq todev 1;ok

imq todev 65536;fail
imq todev 1 << 16;fail
imq todev 0x1000000 >> 8;fail
imq todev -1;fail
imq todev abc;fail
imq todev imq1;fail
imq todev;fail
imq 1;fail
imq todev 1-3;fail
imq todev { 1, 2 };fail
imq todev 1 accept;fail
imq todev 1 counter;fail
imq todev 1 imq todev 2;fail
imq todev 1 queue num 1;fail
accept imq todev 1;fail
queue num 1 imq todev 1;fail

imq todev meta mark;ok
imq todev meta mark & 0x000000ff;ok
imq todev meta mark & 0x0000ff00 >> 8;ok;imq todev meta mark & 0x000000ff
imq todev (meta mark & 0x0000ff00) >> 8;ok
imq todev meta mark >> 16;ok
imq todev meta mark << 4;ok
imq todev meta mark | 0x00000001;ok
imq todev meta mark ^ 0x000000ff;ok
imq todev meta priority;ok
imq todev meta cpu;ok
imq todev meta cgroup;ok
imq todev meta skgid;ok
imq todev meta length;ok
imq todev iif;ok
imq todev iifname;fail
imq todev meta protocol;fail
imq todev meta iiftype;fail
imq todev meta pkttype;fail
imq todev meta time;fail
imq todev meta l4proto;fail

imq todev numgen inc mod 4;ok
imq todev numgen random mod 4 offset 100;ok
imq todev numgen inc mod 65536;ok
imq todev numgen inc mod 65537;fail
imq todev numgen inc mod 4 offset 65533;fail
imq todev symhash mod 4 offset 1;ok
imq todev symhash mod 65536 offset 1;fail
imq todev jhash iif . meta mark mod 32;ok
imq todev jhash iif . meta mark mod 32 offset 65535;fail

imq todev meta cgroup & 255;ok
imq todev meta cgroup >> 4;ok
imq todev (meta mark & 0x0000ff00) >> 8 | 0x00000010;ok
imq todev meta mark >> 8 & 0x0000000f;ok
imq todev symhash mod 2 map { 0 : 1, 1 : 8 };ok
imq todev meta skuid map { 0 : 1, 1000-1999 : 2 };ok
imq todev iifname map { "eth0" : 0, "ppp0" : 2, "eth1" : 2 };ok
imq todev numgen inc mod 2 map { 0 : 1, 1 : 8 };ok
imq todev meta mark map { 0x00000001 : 8, 0x00000002 : 65535 };ok
imq todev meta mark map { 0x00000001-0x0000000f : 8, 0x00000010-0x000000ff : 9 };ok
imq todev meta mark & 0x0000ffff map { 0x00000001 : 8, 0x00000002 : 9 };ok
imq todev iifname . meta mark map { "eth0" . 0x00000001 : 1, "ppp0" . 0x00000002 : 2 };ok
imq todev meta mark map { 0x00000001 : 8, 0x00000002 : 65536 };fail
imq todev meta mark map { 0x00000001 : 8-9 };fail
imq todev meta mark map @unknown;fail
