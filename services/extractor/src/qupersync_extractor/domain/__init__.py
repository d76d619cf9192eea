"""Pure rules of extraction and relaying: state and its transitions, planning, fences. Standard library only."""
