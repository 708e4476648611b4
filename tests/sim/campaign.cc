#include <cstdio>
#include <cstdlib>
#include "governor/sim/machine.h"
#include "governor/sim/memgov_arm.h"
using namespace memgov::sim;
int main(int argc, char** argv) {
  int from = argc > 1 ? atoi(argv[1]) : 1, to = argc > 2 ? atoi(argv[2]) : from;
  for (int seed = from; seed <= to; ++seed) {
    Scenario s = DrawScenario(seed);
    class Nobody : public Governor { public: std::string_view name() const override { return "nothing"; } void Start(Machine&) override {} } nobody;
    Machine::Trace trace;
    if (argc > 3) trace = [](Instant at, const std::string& t) { printf("%10.4f %s\n", SecondsOf(at - Machine::Zero()), t.c_str()); };
    Machine a(s, nobody, trace);
    a.Run();
    MemgovArm arm(MemgovArm::DefaultPolicy());
    if (trace) puts("---- memgov");
    Machine b(s, arm, trace);
    b.Run();
    printf("%d nothing %zu kills work %.0f stalled %.0f; memgov %zu kills work %.0f asked %.0f MiB in %d, ticks %lu stalled %.0f braked %.0f\n", seed, a.tally().kills.size(), a.tally().work, a.tally().stalled, b.tally().kills.size(), b.tally().work, b.tally().asked / kMiBf, b.tally().requests, arm.ticks(), b.tally().stalled, b.tally().braked);
  }
}
