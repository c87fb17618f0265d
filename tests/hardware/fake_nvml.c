/* A stand-in for the NVIDIA management library: the symbols pamprof uses, told what to do by environment variables.

   FAKE_NVML_COUNT    GPUs (default 1)            FAKE_NVML_NAMES   their names, comma separated
   FAKE_NVML_FAIL     NAME=CODE[@CALLS],...       a function (or *) fails with CODE, after CALLS calls of it succeeded
   FAKE_NVML_ENERGY   moving | still | reset      FAKE_NVML_SAMPLES fresh | stale
   FAKE_NVML_REASONS  clock-event masks, one a call, the last one stays
   FAKE_NVML_PIDS     compute processes           FAKE_NVML_MIG     1: MIG is enabled
   FAKE_NVML_VIRTUAL  virtualisation mode
   FAKE_NVML_GPM      1: supported                FAKE_NVML_MEMORY  none: not available
   FAKE_NVML_DRIVER   its version (default 580.65.06)
   FAKE_NVML_POWER_MW power, milliwatts (default 100000; the counter always moves at 100 W)

   Time is what fake_set_time says. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long u64;
typedef struct { int index; int instance; } device;
typedef struct { u64 stamp; union { double d; unsigned u; u64 ull; } value; } sample;
typedef struct { unsigned field, scope; long long stamp, latency; unsigned type, ret; union { double d; unsigned u; u64 ull; } value; } field;
typedef struct { u64 total, free, used; } memory;
typedef struct { unsigned pid; u64 bytes; unsigned gi, ci; } process;
typedef struct { unsigned id, ret; double value; const char *names[3]; } metric;
typedef struct { unsigned version, count; void *first, *second; metric metrics[400]; } metrics;
typedef struct { unsigned version, supported; } support;

static device gpus[4] = {{0, 0}, {1, 0}, {2, 0}, {3, 0}}, instance = {0, 1};
static double now;
static int reason_calls, energy_calls, gpm_live;
static struct { char name[64]; int calls; } called[64];
static const double epoch = 1.7e9;

void fake_set_time(double seconds) { now = seconds; }
int fake_gpm_live(void) { return gpm_live; }
void fake_reset(void) {
    now = 0; reason_calls = energy_calls = gpm_live = 0;
    memset(called, 0, sizeof called);
}

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static int calls_before(const char *name) {
    for (int i = 0; i < 64; i++) {
        if (!called[i].name[0]) snprintf(called[i].name, sizeof called[i].name, "%s", name);
        if (!strcmp(called[i].name, name)) return called[i].calls++;
    }
    return 0;
}

static int refused(const char *function) {
    char list[512], *rest = list, *entry;
    snprintf(list, sizeof list, "%s", setting("FAKE_NVML_FAIL", ""));
    while ((entry = strsep(&rest, ","))) {
        char *code = strchr(entry, '='), *after;
        if (!code) continue;
        *code++ = 0;
        after = strchr(code, '@');
        int every = !strcmp(entry, "*") && strncmp(function, "nvmlInit", 8) && strcmp(function, "nvmlErrorString");
        if ((every || !strcmp(entry, function)) && calls_before(entry) >= (after ? atoi(after + 1) : 0)) return atoi(code);
    }
    return 0;
}
#define GATE { int code = refused(__func__); if (code) return code; }

static int gpu_count(void) { return atoi(setting("FAKE_NVML_COUNT", "1")); }

int nvmlInitWithFlags(unsigned flags) { GATE return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "words of the fake driver"; }
int nvmlDeviceGetCount_v2(unsigned *count) { GATE *count = gpu_count(); return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { GATE snprintf(text, size, "%s", setting("FAKE_NVML_DRIVER", "580.65.06")); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { GATE *version = 13000; return 0; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **out) {
    GATE
    if ((int)index >= gpu_count()) return 2;
    *out = &gpus[index];
    return 0;
}
int nvmlDeviceGetUUID(device *gpu, char *text, unsigned size) {
    GATE
    snprintf(text, size, "GPU-aaaaaaa%d-0000-1111-2222-333333333333", gpu->index);
    return 0;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, device **out) {
    GATE
    char own[64];
    *out = &instance;
    if (!strcmp(uuid, "MIG-cccccccc-0000-1111-2222-333333333333")) return 0;
    for (int i = 0; i < gpu_count(); i++) {
        snprintf(own, sizeof own, "GPU-aaaaaaa%d-0000-1111-2222-333333333333", i);
        *out = &gpus[i];
        if (!strcmp(uuid, own)) return 0;
    }
    return 6;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device *mig, device **out) { GATE *out = &gpus[mig->index]; return 0; }
int nvmlDeviceGetName(device *gpu, char *text, unsigned size) {
    GATE
    char list[256], *rest = list, *name = "";
    snprintf(list, sizeof list, "%s", setting("FAKE_NVML_NAMES", "Fake GPU,Fake GPU,Fake GPU,Fake GPU"));
    for (int i = 0; i <= gpu->index && rest; i++) name = strsep(&rest, ",");
    snprintf(text, size, "%s%s", name, gpu == &instance ? " MIG 1g.5gb" : "");
    return 0;
}
int nvmlDeviceGetMigMode(device *gpu, unsigned *current, unsigned *pending) {
    GATE
    *current = *pending = atoi(setting("FAKE_NVML_MIG", "0"));
    return 0;
}
int nvmlDeviceGetVirtualizationMode(device *gpu, unsigned *mode) {
    GATE
    *mode = atoi(setting("FAKE_NVML_VIRTUAL", "0"));
    return 0;
}
int nvmlDeviceGetEnforcedPowerLimit(device *gpu, unsigned *milliwatts) { GATE *milliwatts = 700000; return 0; }
int nvmlDeviceGetMaxClockInfo(device *gpu, unsigned domain, unsigned *mhz) { GATE *mhz = 1980; return 0; }
int nvmlDeviceGetClockInfo(device *gpu, unsigned domain, unsigned *mhz) { GATE *mhz = domain == 1 ? 1755 : 2619; return 0; }
int nvmlDeviceGetTemperature(device *gpu, unsigned sensor, unsigned *celsius) { GATE *celsius = 51; return 0; }
int nvmlDeviceGetPowerUsage(device *gpu, unsigned *milliwatts) {
    GATE
    *milliwatts = atoi(setting("FAKE_NVML_POWER_MW", "100000"));
    return 0;
}
int nvmlDeviceGetFieldValues(device *gpu, int count, field *fields) {
    GATE
    for (int i = 0; i < count; i++) {
        fields[i].ret = fields[i].field == 186 ? refused("powerInstantField") : 3;
        fields[i].type = 1;
        fields[i].value.u = atoi(setting("FAKE_NVML_POWER_MW", "100000"));
    }
    return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(device *gpu, u64 *millijoules) {
    GATE
    const char *mode = setting("FAKE_NVML_ENERGY", "moving");
    energy_calls++;
    *millijoules = 5000000 + (u64)(floor(now * 10 + 1e-6) * 10000); /* 100 W, one step every 100 ms */
    if (!strcmp(mode, "still")) *millijoules = 5000000;
    if (!strcmp(mode, "reset") && energy_calls > 10) *millijoules -= 5000000;
    return 0;
}
int nvmlDeviceGetCurrentClocksEventReasons(device *gpu, u64 *mask) {
    GATE
    char list[256], *rest = list, *entry = "1";
    snprintf(list, sizeof list, "%s", setting("FAKE_NVML_REASONS", "1"));
    reason_calls++;
    for (int i = 0; i < reason_calls && rest; i++) entry = strsep(&rest, ",");
    *mask = strtoull(entry, NULL, 0);
    return 0;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(device *gpu, u64 *mask) { GATE *mask = 0x20; return 0; }
int nvmlDeviceGetMemoryInfo(device *gpu, memory *info) {
    GATE
    info->total = 80ull << 30;
    info->used = !strcmp(setting("FAKE_NVML_MEMORY", ""), "none") ? ~0ull : gpu->instance ? 1ull << 30 : 3ull << 30;
    return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(device *gpu, unsigned *count, process *out) {
    GATE
    char list[256], *rest = list, *entry;
    unsigned found = 0;
    snprintf(list, sizeof list, "%s", setting("FAKE_NVML_PIDS", ""));
    if (!list[0]) { *count = 0; return 0; }
    while ((entry = strsep(&rest, ","))) {
        if (out) { out[found].pid = atoi(entry); out[found].bytes = ~0ull; }
        found++;
    }
    *count = found;
    return out ? 0 : 7;
}
int nvmlDeviceGetUtilizationRates(device *gpu, unsigned *rates) { GATE rates[0] = 40; rates[1] = 10; return 0; }
int nvmlDeviceGetSamples(device *gpu, unsigned kind, u64 seen, unsigned *type, unsigned *count, sample *out) {
    GATE
    int stale = !strcmp(setting("FAKE_NVML_SAMPLES", "fresh"), "stale");
    unsigned found = 0;
    *type = 1;
    for (int i = 1; i <= 100; i++) { /* one sample every 0.2 s */
        double at = epoch + (stale ? i * 0.2 - 600 : i * 0.2);
        if (!stale && (at > epoch + now + 1e-6 || (u64)(at * 1e6) <= seen)) continue;
        if (out) { out[found].stamp = (u64)(at * 1e6); out[found].value.u = 80; }
        found++;
    }
    if (!found) return 6;
    if (out) { out[found].stamp = 0; out[found].value.u = 0; } /* an entry never written */
    *count = found + 1;
    return 0;
}

int nvmlGpmQueryDeviceSupport(device *gpu, support *out) {
    GATE
    if (out->version != 1) return 25;
    out->supported = atoi(setting("FAKE_NVML_GPM", "0"));
    return 0;
}
int nvmlGpmSampleAlloc(double **out) { GATE *out = malloc(sizeof(double)); gpm_live++; return 0; }
int nvmlGpmSampleFree(double *at) { free(at); gpm_live--; return 0; }
int nvmlGpmSampleGet(device *gpu, double *at) { GATE *at = now; return 0; }
int nvmlGpmMetricsGet(metrics *request) {
    GATE
    if (request->version != 1) return 25;
    if (*(double *)request->second - *(double *)request->first < 0.1) return 2;
    for (unsigned i = 0; i < request->count; i++) {
        metric *m = &request->metrics[i];
        m->ret = m->id == 12 ? 3 : 0; /* this GPU does not count FP32 */
        m->value = m->id == 10 ? NAN : 50 + m->id;
    }
    return 0;
}
