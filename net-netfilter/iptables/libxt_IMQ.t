:PREROUTING,INPUT,FORWARD,OUTPUT,POSTROUTING
*mangle
-j IMQ;-j IMQ --todev 0;OK
-j IMQ --todev 0;=;OK
-j IMQ --todev 1;=;OK
-j IMQ --todev 65535;=;OK
-j IMQ --todev 0x10;-j IMQ --todev 16;OK
-j IMQ --todev 65536;;FAIL
-j IMQ --todev 4294967296;;FAIL
-j IMQ --todev -1;;FAIL
-j IMQ --todev imq1;;FAIL
-j IMQ --todev abc;;FAIL
-j IMQ --todev 1x;;FAIL
-j IMQ --todev;;FAIL
-j IMQ ! --todev 1;;FAIL
-j IMQ --todev 1 --todev 2;;FAIL
