"""Predictive control that lives inside soft robots.

The walk of one sample, in this order, with no step back:

    sensor bytes -> nodes/lightlace -> nodes/mcu -> [link] frame.c -> message.c -> control_loop.c
      -> mpc.c <-> fk.c (generated) -> supervisor.c -> [link] -> nodes/mcu -> command -> nodes/rig

nodes/reference joins at nodes/mcu, nodes/logger listens, nodes/pid stands in for the MCU. Node
files only wire topics and parameters; what they think with lives in the pure modules beside them.
"""
