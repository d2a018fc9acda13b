# Reads what `nvcc -Xptxas=-v` prints for the block programs and writes one line a program: registers and spilled bytes for each architecture.
# Names come out mangled; pipe through c++filt for words.
/Compiling entry function/ { split($0, part, "'"); name = part[2]; arch = part[4]; seen[arch] = 1; names[name] = 1 }
/bytes spill stores/ { match($0, /[0-9]+ bytes spill stores/); spill[name, arch] = substr($0, RSTART, RLENGTH) + 0
                       match($0, /[0-9]+ bytes spill loads/); spill[name, arch] += substr($0, RSTART, RLENGTH) + 0
                       match($0, /[0-9]+ bytes stack frame/); stack[name, arch] = substr($0, RSTART, RLENGTH) + 0 }
/Used [0-9]+ registers/ { match($0, /[0-9]+ registers/); registers[name, arch] = substr($0, RSTART, RLENGTH) + 0 }
/^compiled in [0-9]+ s/ { whole += $3 }
END {
  for (name in names) {
    line = ""
    for (i = 1; i <= split("sm_80 sm_90 sm_100", order, " "); ++i) {
      arch = order[i]
      if (!(arch in seen)) continue
      line = line sprintf("%s: %3d regs, %d spilled, %d stack   ", arch, registers[name, arch], spill[name, arch], stack[name, arch])
      if (registers[name, arch] > most[arch]) most[arch] = registers[name, arch]
      spilled += spill[name, arch]
    }
    print line name
    ++count
  }
  printf "programs: %d; spilled bytes: %d; most registers:", count, spilled
  for (i = 1; i <= 3; ++i) if (order[i] in seen) printf " %s %d", order[i], most[order[i]]
  printf "; seconds of nvcc: %d\n", whole
}
